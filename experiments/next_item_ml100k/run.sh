#!/usr/bin/env bash
# Five seeds of the preset beside every baseline, and RecTools and RecBole where Pythons with them are given; results.csv and README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_next_item_ml100k} python=${2:-} budget=${3:-3600} recbole=${4:-}
.venv/bin/clm-train -m experiment=next_item_ml100k seed=0,1,2,3,4 trainer.enable_progress_bar=false \
  paths.store="$out/store" hydra.sweep.dir="$out/network"
peers=$out/peers.jsonl
: > "$peers"
if [[ -n $python ]]; then
  "$python" experiments/next_item_movies/peer_rectools.py "$out"/store/*/ --data ml100k --budget "$budget" >> "$peers"
fi
if [[ -n $recbole ]]; then
  "$recbole" experiments/next_item_ml100k/peer_recbole.py "$out"/store/*/ --data ml100k --budget "$budget" >> "$peers"
fi
.venv/bin/python experiments/summarise.py experiments/next_item_ml100k "$out/network" --peers "$peers" \
  --pairs network:recency_ease network:markov network:als network:ease network:popular rrf:network rrf:markov rrf:recency_ease two_stage:network
