#!/usr/bin/env bash
# Next event, then fine-tuning or frozen vectors, on three logs and five seeds: LOG.csv and LOG's tables in README.md.
# CLM_STUDY_DATA=FOLDER OUT=runs/study_pretraining_logs bash experiments/pretraining/logs.sh [completejourney|online_retail|movietweetings|completejourney_masked …]
set -euo pipefail
cd "$(dirname "$0")/../.."
seeds=${SEEDS:-0,1,2,3,4} out=${OUT:-runs/study_pretraining_logs} train=${TRAIN:-.venv/bin/clm-train}
(($#)) || set -- completejourney online_retail movietweetings
for log in "$@"; do
  objective=next_event
  case $log in
    completejourney_masked) objective=masked_event # needs an encoder that sees both sides
      data=(experiment=churn_completejourney sequence.max_tokens=128 task.embedding.max_size=8 encoder=transformer encoder.causal=false task.pooling=mean) ;;
    completejourney) data=(experiment=churn_completejourney sequence.max_tokens=128 task.embedding.max_size=8) ;;
    online_retail) data=(experiment=churn_events snapshots.horizon_days=28 snapshots.active_days=91 data.path="$CLM_STUDY_DATA/online_retail/online_retail.parquet"
      data.roles.customer=CustomerID data.roles.time=InvoiceDate data.roles.order=InvoiceNo data.roles.item=StockCode 'data.categorical=[Country]'
      'data.numeric=[Quantity,UnitPrice]') ;;
    movietweetings) data=(experiment=churn_events snapshots.horizon_days=28 data.path="$CLM_STUDY_DATA/movietweetings_100k/ratings.dat.gz" 'data.separator="::"'
      'data.columns=[user,item,rating,time]' data.roles.customer=user data.roles.time=time data.roles.item=item 'data.numeric=[rating]') ;;
  esac
  sweep() { # FOLDER OVERRIDES…: a run a seed in $out/$log/FOLDER/SEED
    $train -m hydra.sweep.dir="$out/$log/$1" 'hydra.sweep.subdir=${seed}' seed="$seeds" trainer.enable_progress_bar=false bootstrap=20 "${data[@]}" \
      data.name="$log" paths.store="$out/$log/store" "${@:2}"
  }
  sweep pretrained task=pretrain task.objective=$objective task.embedding.max_size=8 task.optimizer.lr=0.002 trainer.max_epochs=15 encoder.hidden_size=64 baselines=none
  for pair in ${SHARES:-0.05:20 0.1:15 0.3:6 1.0:3}; do # the fewer labels, the more epochs
    few=(encoder.hidden_size=64 task.head_size=64 snapshots.label_share="${pair%:*}" 'snapshots.label_seed=${seed}' trainer.max_epochs="${pair#*:}")
    sweep "scratch/${pair%:*}" "${few[@]}" 'baselines=[lightgbm]'
    sweep "$objective/${pair%:*}" "${few[@]}" init="$out/$log/pretrained/\${seed}" \
      'baselines=[embedding_logistic,embedding_lightgbm,embedding_rfm_lightgbm]'
  done
  ${PYTHON:-.venv/bin/python} experiments/pretraining/curve.py "$out/$log" --log "$log"
done
