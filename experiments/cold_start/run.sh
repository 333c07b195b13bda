#!/usr/bin/env bash
# Five seeds without content, with descriptions, and with descriptions and id dropout; both tables in README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-runs/study_cold_start}
train=(.venv/bin/clm-train -m experiment=next_order_completejourney seed=0,1,2,3,4 trainer.enable_progress_bar=false
  data=events data.name=online_retail data.path="$CLM_STUDY_DATA/online_retail/online_retail.parquet"
  data.roles.customer=CustomerID data.roles.time=InvoiceDate data.roles.order=InvoiceNo data.roles.item=StockCode data.roles.text=Description
  "data.categorical=[]" "data.numeric=[Quantity,UnitPrice]" protocol.val=2011-10-14 protocol.test=2011-11-11)
content=(task.content.text=text) # the field that plays the role text
"${train[@]}" "${content[@]}" task.tower.id_dropout=0.3 "baselines=[popular,recent_popular,repeat,content,network_repeat]" \
  baseline.content.text=text "baseline.content.categorical=[]" hydra.sweep.dir="$out/description_dropout"
"${train[@]}" "${content[@]}" baselines=none hydra.sweep.dir="$out/description"
"${train[@]}" baselines=none hydra.sweep.dir="$out/no_content"
.venv/bin/python experiments/summarise.py experiments/cold_start "$out" --pairs network@cold_items network:content@cold_items \
  network:recent_popular@cold_items network:recent_popular@few_events network:repeat@few_events \
  network_repeat:recent_popular@few_events network_repeat:network@few_events
.venv/bin/python experiments/cold_start/among_cold.py "$out"
