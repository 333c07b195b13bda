"""New items against each other: AUC of the new items bought, among the new items alone, by network and content
baseline.

python experiments/cold_start/among_cold.py RUNS… → among_cold.csv and the second table of README.md, a line a run and
model

Against the whole catalogue a model can be above chance by where it puts all new items together; here only their content
tells them apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clm_dl.data.open import open_store
from clm_dl.data.ranking.ranking import Ranking
from clm_dl.evaluation.bootstrap import draw
from clm_dl.experiment.inference import ranked_question
from clm_dl.experiment.rescoring import own_cases
from clm_dl.retrieval import Scorer, take_ragged
from clm_dl.run import Run, load_run
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.ranks import rank

START, END = (
    "<!-- among the new items: made by experiments/cold_start/among_cold.py -->",
    "<!-- end among the new items -->",
)


def auc(scorer: Scorer, ranking: Ranking, cold_V: np.ndarray, resamples: int = 1000) -> dict[str, float]:
    """Mean over the test snapshots that bought a new item of the AUC among the items of `cold_V`; interval over
    customers.
    """
    index_N = ranking.select("test")
    offsets, items = take_ragged((ranking.target_offsets, ranking.targets), index_N)
    new_M = cold_V[items]
    offsets = np.concatenate([[0], np.cumsum(new_M)])[offsets]
    some_N = np.diff(offsets) > 0
    index_N, offsets = index_N[some_N], np.unique(offsets)
    codes = np.flatnonzero(cold_V)
    nothing = np.zeros(len(index_N) + 1, np.int64), np.empty(0, np.int64)
    found = rank(
        lambda index_B: np.ascontiguousarray(np.asarray(scorer(index_B))[:, codes]),
        index_N,
        targets=(offsets, np.searchsorted(codes, items[new_M])),
        seen=nothing,
        num_items=len(codes),
        k=1,
    )
    value_N = snapshot_metrics(offsets, found.above, found.ties, found.candidates, num_items=len(codes))["auc"]
    code_N = np.unique(ranking.snapshots.customer[index_N], return_inverse=True)[1]
    weight_RC = draw(np.random.default_rng(0), resamples, int(code_N.max()) + 1)
    low, high = np.quantile(
        weight_RC @ np.bincount(code_N, value_N) / (weight_RC @ np.bincount(code_N)), [0.025, 0.975]
    )
    numbers = {"new_items": len(codes), "customers": len(weight_RC[0]), "bought": int(new_M.sum())}
    return {**numbers, "auc": float(value_N.mean()), "low": float(low), "high": float(high)}


def measure(run: Run) -> list[dict[str, object]]:
    """A row for the run's network and one for its content baseline, where it has one; ValueError when its log has
    changed.
    """
    trained, settings = run.trained, run.config
    task, store = ranked_question(trained), open_store(settings["data"], settings["paths"])
    cases = own_cases(trained, store, run.metrics)
    inputs = task.inputs(cases, vocabulary=trained.vocabulary, schema=trained.schema)
    scorers = {"network": task.answers(trained.network, inputs, cases.held_out)}
    for spec in task.settings.specs:
        if spec.name == "content":
            _, scorers["content"] = task.fit_baseline(spec, cases, {})
    name = {"sweep": run.path.parent.name, "seed": settings["seed"]}
    return [
        {**name, "model": model, **auc(scorer, cases.ranking, cases.catalogue.count == 0)}
        for model, scorer in scorers.items()
    ]


def markdown(table: pd.DataFrame) -> str:
    lines = [
        "| sweep | model | seeds | AUC among the new items | intervals of the seeds, 95 % |",
        "|---|---|---|---|---|",
    ]
    for (sweep, model), part in table.groupby(["sweep", "model"], sort=False):
        spread = f" ± {part['auc'].std(ddof=1):.4f}" if part["auc"].std(ddof=1) > 0 else ""
        bounds = f"{part['low'].min():.4f} to {part['high'].max():.4f}"
        lines.append(f"| {sweep} | {model} | {len(part)} | {part['auc'].mean():.4f}{spread} | {bounds} |")
    row = table.iloc[0]
    return "\n".join(
        [*lines, "", f"{row['new_items']} new items, bought {row['bought']} times by {row['customers']} customers."]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or folders above them")
    parser.add_argument(
        "--study", type=Path, default=Path(__file__).parent, help="folder of among_cold.csv and README.md"
    )
    options = parser.parse_args(arguments)
    runs = [load_run(file.parent) for path in options.runs for file in sorted(path.glob("**/status.json"))]
    table = pd.DataFrame([row for run in runs if run.status["state"] == "finished" for row in measure(run)]).round(6)
    table.to_csv(options.study / "among_cold.csv", index=False)
    readme = options.study / "README.md"
    text = readme.read_text()
    head, tail = text[: text.index(START) + len(START)], text[text.index(END) :]
    readme.write_text(f"{head}\n{markdown(table)}\n{tail}")
    print(markdown(table))


if __name__ == "__main__":
    main()
