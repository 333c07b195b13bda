#!/usr/bin/env bash
# Buy-till-you-die models on CDNOW and 200,000 simulated customers; results.csv and the tables in README.md. A minute of one core.
set -euo pipefail
cd "$(dirname "$0")/../.."
OMP_NUM_THREADS=1 .venv/bin/python experiments/buy_till_you_die/run.py
