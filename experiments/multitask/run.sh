#!/usr/bin/env bash
# Five seeds of each question alone, and of all from one encoder: results.csv and the tables in README.md.
# SEEDS=0,1,2 OUT=runs/study_multitask bash experiments/multitask/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=${SEEDS:-0,1,2,3,4} out=${OUT:-runs/study_multitask}
sweep() { # FOLDER OVERRIDES…: a run a seed in $out/FOLDER/SEED
  .venv/bin/clm-train -m experiment=multitask_completejourney hydra.sweep.dir="$out/$1" 'hydra.sweep.subdir=${seed}' seed="$seeds" \
    baselines=none bootstrap=20 trainer.enable_progress_bar=false "${@:2}"
}
for question in churn survival value; do # the question alone, and with a wider encoder
  alone=$(sed "s/$question: 0/$question: 1.0/" <<<'task.weights={churn: 0, survival: 0, value: 0, next_event: 0}')
  sweep $question task.weighting=fixed "$alone"
  sweep ${question}_wider task.weighting=fixed "$alone" encoder.hidden_size=32
done
sweep fixed task.weighting=fixed
sweep uncertainty task.weighting=uncertainty
sweep without_next_event task.weighting=fixed task.weights.next_event=0
sweep uncertainty_without_next_event task.weighting=uncertainty task.weights.next_event=0
sweep uncertainty_wider task.weighting=uncertainty encoder.hidden_size=32
.venv/bin/python experiments/multitask/table.py "$out"
