#!/usr/bin/env bash
# Five seeds of the Complete Journey recipe beside every baseline and hybrid; results.csv and the table in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_next_order_online_retail}
.venv/bin/clm-train -m experiment=next_order_completejourney seed=0,1,2,3,4 trainer.enable_progress_bar=false hydra.sweep.dir="$out/network" \
  data=events data.name=online_retail data.path="$CLM_STUDY_DATA/online_retail/online_retail.parquet" \
  data.roles.customer=CustomerID data.roles.time=InvoiceDate data.roles.order=InvoiceNo data.roles.item=StockCode data.roles.text=Description \
  "data.categorical=[]" "data.numeric=[Quantity,UnitPrice]" protocol.val=2011-10-14 protocol.test=2011-11-11
.venv/bin/python experiments/summarise.py experiments/next_order_online_retail "$out/network" --pairs repeat:popular \
  network:repeat network_repeat:repeat blend:repeat rrf:repeat two_stage:repeat network:repeat@new two_stage:repeat@new two_stage:popular@new
