#!/usr/bin/env bash
# 300 random damages to stores and runs: results.csv and the table in README.md; fails if one went unseen.
set -euo pipefail
cd "$(dirname "$0")/../.."
OMP_NUM_THREADS=1 ${PYTHON:-.venv/bin/python} experiments/damage/damage.py --damages "${1:-300}"
