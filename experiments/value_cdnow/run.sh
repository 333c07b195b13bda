#!/usr/bin/env bash
# Five seeds of 13-week value on CDNOW beside every baseline, each frozen at later cutoffs; results.csv, the figure and the tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_value}
.venv/bin/clm-train -m experiment=value_cdnow seed=0,1,2,3,4 trainer.enable_progress_bar=false hydra.sweep.dir="$out"
for run in "$out"/[0-9]_*; do
  .venv/bin/clm-evaluate run="$run" cutoffs=rolling
done
.venv/bin/python experiments/summarise.py experiments/value_cdnow "$out" \
  --pairs network:lightgbm_value network:bg_nbd_gamma_gamma network:past_mean lightgbm_value:bg_nbd_gamma_gamma
.venv/bin/python experiments/backtest/collect.py "$out" --study experiments/value_cdnow --csv later.csv
