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
sweep churn 'task.weights={churn: 1.0, survival: 0, value: 0, next_event: 0}'
sweep survival 'task.weights={churn: 0, survival: 1.0, value: 0, next_event: 0}'
sweep value 'task.weights={churn: 0, survival: 0, value: 1.0, next_event: 0}'
sweep fixed
sweep uncertainty task.weighting=uncertainty
sweep without_next_event task.weights.next_event=0
.venv/bin/python experiments/multitask/table.py "$out"
