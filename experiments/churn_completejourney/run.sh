#!/usr/bin/env bash
# Five seeds of the default experiment beside every baseline; results.csv and the table in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_completejourney}
train=(.venv/bin/clm-train -m experiment=churn_completejourney seed=0,1,2,3,4 trainer.enable_progress_bar=false)
"${train[@]}" hydra.sweep.dir="$out/default"
.venv/bin/python experiments/summarise.py experiments/churn_completejourney "$out/default" --pairs network:lightgbm network:logistic network:forest
