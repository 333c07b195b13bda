#!/usr/bin/env bash
# Pretraining and what starts from it, at shares of the labels: results.csv and the table in README.md.
# SEEDS=0,1,2 OUT=runs/study_pretraining bash experiments/pretraining/run.sh [SHARE:EPOCHS …]
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=${SEEDS:-0,1} out=${OUT:-runs/study_pretraining}
shares=("$@")
((${#shares[@]})) || shares=(0.1:15 0.05:20 0.3:6 1.0:3) # the fewer labels, the more epochs
sweep() { # FOLDER OVERRIDES…: a run a seed in $out/FOLDER/SEED
  .venv/bin/clm-train -m hydra.sweep.dir="$out/$1" 'hydra.sweep.subdir=${seed}' seed="$seeds" trainer.enable_progress_bar=false bootstrap=100 "${@:2}"
}
pretrain() { # FOLDER OVERRIDES…
  [[ -f $out/$1/${seeds##*,}/report.html ]] || sweep "$1" experiment=pretrain_completejourney "${@:2}"
}
pretrain pretrained/next_event
pretrain pretrained/coles task.objective=coles
pretrain pretrained/random task.optimizer.lr=0 trainer.max_epochs=1 # nothing is learnt: a random encoder
for pair in "${shares[@]}"; do
  share=${pair%:*}
  churn=(experiment=churn_completejourney snapshots.label_share="$share" 'snapshots.label_seed=${seed}' trainer.max_epochs="${pair#*:}"
    sequence.max_tokens=128 task.head_size=64)
  network=("${churn[@]}" encoder.hidden_size=64)
  sweep "scratch/$share" "${network[@]}" 'baselines=[lightgbm]'
  from() { echo "init=$out/pretrained/$1/\${seed}"; }
  sweep "next_event/$share" "${network[@]}" "$(from next_event)" 'baselines=[embedding_logistic,embedding_lightgbm,embedding_rfm_lightgbm]'
  sweep "scratch_sequence/$share" "${network[@]}" baselines=none sequence.features=false
  sweep "next_event_sequence/$share" "${network[@]}" "$(from next_event)" baselines=none sequence.features=false
  for objective in coles random; do
    sweep "$objective/$share" "${churn[@]}" "$(from "$objective")" encoder=none \
      'baselines=[embedding_logistic,embedding_lightgbm,embedding_rfm_lightgbm]'
  done
done
.venv/bin/python experiments/pretraining/curve.py "$out"
