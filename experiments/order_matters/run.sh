#!/usr/bin/env bash
# The networks of the other studies asked again with shuffled histories; results.csv and the table in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=("$@")
((${#runs[@]})) || runs=(runs/study_next_item_ml100k runs/study_next_item_movies runs/study_next_order_completejourney runs/study_next_order_online_retail)
.venv/bin/python experiments/order_matters/shuffle.py "${runs[@]}"
