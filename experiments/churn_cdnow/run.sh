#!/usr/bin/env bash
# Five seeds of LSTM and Transformer on CDNOW beside every baseline; results.csv and the table in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_cdnow}
train=(.venv/bin/clm-train -m experiment=churn_cdnow seed=0,1,2,3,4 trainer.enable_progress_bar=false)
"${train[@]}" hydra.sweep.dir="$out/lstm"
"${train[@]}" encoder=transformer baselines=none hydra.sweep.dir="$out/transformer"
.venv/bin/python experiments/summarise.py experiments/churn_cdnow "$out/lstm" "$out/transformer" --pairs network:logistic network:lightgbm
