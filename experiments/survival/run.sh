#!/usr/bin/env bash
# Five seeds of survival on CDNOW and on the simulator beside every baseline; results.csv, truth.csv and the tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_survival}
train=(.venv/bin/clm-train -m seed=0,1,2,3,4 bootstrap=200 trainer.enable_progress_bar=false)
"${train[@]}" experiment=survival_cdnow hydra.sweep.dir="$out/cdnow"
"${train[@]}" experiment=survival_simulator hydra.sweep.dir="$out/simulator"
.venv/bin/python experiments/summarise.py experiments/survival "$out/cdnow" "$out/simulator" --pairs network:logistic network:lightgbm
.venv/bin/python experiments/survival/truth.py "$out/simulator"
