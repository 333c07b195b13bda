#!/usr/bin/env bash
# Five seeds of survival on CDNOW and on the simulator beside every baseline; results.csv, truth.csv and the tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_survival}
sweep=(.venv/bin/clm-train -m seed=0,1,2,3,4 bootstrap=200 trainer.enable_progress_bar=false)
"${sweep[@]}" experiment=survival_cdnow hydra.sweep.dir="$out/cdnow"
"${sweep[@]}" experiment=survival_simulator hydra.sweep.dir="$out/simulator"
.venv/bin/python experiments/summarise.py experiments/survival "$out/cdnow" "$out/simulator" --pairs network:logistic network:lightgbm
.venv/bin/python experiments/survival/truth.py "$out/simulator"

# longer horizons of CDNOW, with a shorter silence; one seed, its table is printed
train='["1997-01-29","1997-02-12","1997-02-26","1997-03-12","1997-04-02","1997-04-30","1997-05-28","1997-07-02","1997-07-30","1997-09-03"]'
.venv/bin/clm-train experiment=survival_cdnow snapshots.horizon_days=56 "task.horizons_days=[0,28,56,91,182]" "snapshots.train=$train" \
  'snapshots.test=["1997-11-05"]' bootstrap=100 trainer.enable_progress_bar=false paths.output_dir="$out/cdnow_26_weeks"
