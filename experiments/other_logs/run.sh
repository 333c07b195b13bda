#!/usr/bin/env bash
# bash experiments/other_logs/run.sh [SEEDS] — the untouched recipe on logs that it was not made on, then README's tables.
# CLM_STUDY_DATA: a folder with online_retail/, movietweetings_100k/, ml_latest_small/ and cdnow_master/, see README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:-runs/other_logs}
declare -A logs=(
  [online_retail]="data=events data.name=online_retail data.path=$CLM_STUDY_DATA/online_retail/online_retail.parquet
    data.roles.customer=CustomerID data.roles.time=InvoiceDate data.roles.order=InvoiceNo data.numeric=[Quantity,UnitPrice]
    data.categorical=[StockCode,Country] data.max_quarantined=0.3"
  [movietweetings]="data=events data.name=movietweetings data.path=$CLM_STUDY_DATA/movietweetings_100k/ratings.dat.gz data.separator=:: data.format=csv
    data.columns=[user,movie,rating,time] data.roles.customer=user data.time_format=epoch_s data.roles.item=movie data.numeric=[rating]"
  [ml_latest_small]="data=events data.name=ml_latest_small data.path=$CLM_STUDY_DATA/ml_latest_small/ml_ratings.csv.gz data.roles.customer=userId
    data.roles.time=timestamp data.time_format=epoch_s data.roles.item=movieId data.numeric=[rating]"
  [cdnow]="data=events data.name=cdnow data.path=$CLM_STUDY_DATA/cdnow_master/CDNOW_master.txt.gz data.format=txt data.roles.customer=customer_id
    data.roles.time=date data.time_format=%Y%m%d data.roles.amount=dollar_value data.numeric=[number_of_cds]"
  [simulator_rfm]="experiment=churn_events data=simulator data.world=rfm"
)
for seed in ${1:-0 1 2 3 4}; do
  for name in ${LOGS:-cdnow ml_latest_small movietweetings online_retail simulator_rfm}; do
    run=$out/${name}_$seed
    [ -f "$run/manifest.json" ] && continue
    # shellcheck disable=SC2086  # a list of overrides
    python -m clm_dl.train ${logs[$name]} seed="$seed" baselines="${BASELINES:-all}" bootstrap=200 \
      trainer.enable_progress_bar=false paths.output_dir="$run"
  done
done
python experiments/summarise.py experiments/other_logs "$out" --pairs network:lightgbm network:logistic network:forest
