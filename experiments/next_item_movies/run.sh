#!/usr/bin/env bash
# Five seeds of the ml-100k recipe on two other logs beside every baseline, and RecTools tuned on each; results.csv and README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?give the path of a Python that has RecTools} budget=${2:-3600} out=${3:-runs/study_next_item_movies}
train=(.venv/bin/clm-train -m experiment=next_item_ml100k seed=0,1,2,3,4 trainer.enable_progress_bar=false
  data=events data.tie=file "data.numeric=[rating]")
"${train[@]}" data.name=ml_latest_small data.path="$CLM_STUDY_DATA/ml_latest_small/ml_ratings.csv.gz" \
  data.roles.customer=userId data.roles.time=timestamp data.roles.item=movieId \
  paths.store="$out/store_ml_latest_small" hydra.sweep.dir="$out/ml_latest_small"
"${train[@]}" data.name=movietweetings data.path="$CLM_STUDY_DATA/movietweetings_100k/ratings.dat.gz" \
  'data.separator="::"' "data.columns=[user,item,rating,time]" data.roles.customer=user data.roles.item=item \
  paths.store="$out/store_movietweetings" hydra.sweep.dir="$out/movietweetings"
for data in ml_latest_small movietweetings; do
  "$python" experiments/next_item_movies/peer_rectools.py "$out/store_$data"/*/ --data $data --budget "$budget" --patience 30 # ml-latest-small has a plateau of a dozen epochs
done > "$out/rectools.jsonl"
.venv/bin/python experiments/summarise.py experiments/next_item_movies "$out/ml_latest_small" "$out/movietweetings" \
  --peers "$out/rectools.jsonl" --pairs network:ease network:recency_ease network:markov network:popular \
  rrf:network rrf:markov two_stage:network two_stage:markov
