#!/usr/bin/env bash
# bash experiments/more_data/run.sh [SEEDS [OVERRIDES…]] — every variant with every seed; PASSES=1: trained by passes
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-runs/more_data}
old=()
[ -n "${PASSES:-}" ] && old=(task.cutoffs_per_customer=null task.steps_per_epoch=null)
for seed in ${1:-0 1 2 3 4}; do
  for variant in ${VARIANTS:-two_weekly weekly 3_daily daily copies}; do
    run=$OUT/${variant}_$seed
    [ -f "$run/manifest.json" ] && continue
    mapfile -t more < <(python experiments/more_data/variants.py "$variant" "$OUT/data")
    python -m clm_dl.train experiment=churn_completejourney seed="$seed" baselines="${BASELINES:-[lightgbm]}" bootstrap=200 \
      trainer.enable_progress_bar=false paths.output_dir="$run" "${more[@]}" "${old[@]}" "${@:2}"
  done
done
