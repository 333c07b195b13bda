#!/usr/bin/env bash
# The networks of the two churn studies, frozen, on every later cutoff; results.csv, the figures and the tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
cdnow=${1:-runs/study_cdnow/lstm} completejourney=${2:-runs/study_completejourney/default} # folders of the trials, a run each
for run in "$cdnow"/[0-9]* "$completejourney"/[0-9]*; do
  .venv/bin/clm-evaluate run="$run" cutoffs=rolling
done
.venv/bin/python experiments/backtest/collect.py "$cdnow" "$completejourney"
