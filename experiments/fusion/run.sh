#!/usr/bin/env bash
# History features inside the network, beside it, or alone, on Complete Journey: results.csv and the tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_fusion} train=${TRAIN:-.venv/bin/clm-train}
sweep() { # FOLDER OVERRIDES…: a run a seed in $out/FOLDER/SEED
  $train -m experiment=churn_completejourney hydra.sweep.dir="$out/$1" 'hydra.sweep.subdir=${seed}' seed=0,1,2,3,4 bootstrap=20 \
    trainer.enable_progress_bar=false "${@:2}"
}
sweep joint 'baselines=[lightgbm,logistic]'
sweep alone baselines=none sequence.features=false
${PYTHON:-.venv/bin/python} experiments/fusion/fuse.py "$out"
