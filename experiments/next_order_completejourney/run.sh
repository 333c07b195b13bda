#!/usr/bin/env bash
# Five seeds of the preset beside every baseline and hybrid; results.csv and the table in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_next_order_completejourney}
.venv/bin/clm-train -m experiment=next_order_completejourney seed=0,1,2,3,4 trainer.enable_progress_bar=false hydra.sweep.dir="$out/network"
.venv/bin/python experiments/summarise.py experiments/next_order_completejourney "$out/network" --pairs repeat:popular \
  network:repeat network_repeat:repeat blend:repeat rrf:repeat two_stage:repeat network:repeat@new two_stage:repeat@new two_stage:popular@new
