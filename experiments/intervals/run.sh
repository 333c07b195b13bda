#!/usr/bin/env bash
# How often 95 % intervals hold the truth, 500 simulated data sets of each kind and size; results.csv. About twenty minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/../.."
OMP_NUM_THREADS=1 .venv/bin/python experiments/intervals/coverage.py
