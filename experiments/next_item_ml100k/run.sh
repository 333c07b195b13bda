#!/usr/bin/env bash
# Five seeds of the preset beside every baseline, and RecTools where a Python with it is given; results.csv and README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_next_item_ml100k} python=${2:-} budget=${3:-3600}
.venv/bin/clm-train -m experiment=next_item_ml100k seed=0,1,2,3,4 trainer.enable_progress_bar=false \
  paths.store="$out/store" hydra.sweep.dir="$out/network"
peers=()
if [[ -n $python ]]; then
  "$python" experiments/next_item_movies/peer_rectools.py "$out/store" --data ml100k --budget "$budget" > "$out/rectools.jsonl"
  peers=(--peers "$out/rectools.jsonl")
fi
.venv/bin/python experiments/summarise.py experiments/next_item_ml100k "$out/network" "${peers[@]}" \
  --pairs network:ease network:recency_ease network:markov network:popular
