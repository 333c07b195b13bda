"""The label-efficiency curve: runs of run.sh → results.csv (a line a share, seed and model) and the tables in
README.md.

python experiments/pretraining/curve.py RUNS [--log NAME], the folder of run.sh, or of one log of logs.sh:
FOLDER/SHARE/SEED

Differences are paired over seeds and customers: a resample draws both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clm_dl.evaluation.bootstrap import Bootstrap, bootstrap
from clm_dl.run import load_run
from clm_dl.tasks.churn.metrics import binary_measure
from clm_dl.tasks.churn.scores import read_scores

START, END = "<!-- results{}: made by experiments/pretraining/curve.py -->", "<!-- end of results -->"
FROM = {"next_event": "next event", "masked_event": "masked event", "coles": "CoLES", "random": "random encoder"}
MODELS = {  # (folder, model of its runs): name in the tables, in their order
    ("scratch", "network"): "network from scratch",
    ("next_event", "network"): "network fine-tuned from next event",
    ("masked_event", "network"): "network fine-tuned from masked event",
    ("scratch_sequence", "network"): "network from scratch, sequence alone",
    ("next_event_sequence", "network"): "network fine-tuned from next event, sequence alone",
    ("scratch", "lightgbm"): "LightGBM, history features",
    **{
        (folder, "embedding_rfm_lightgbm"): f"LightGBM, history features + frozen {name}"
        for folder, name in FROM.items()
    },
    **{(folder, "embedding_lightgbm"): f"LightGBM, frozen {name}" for folder, name in FROM.items()},
    **{(folder, "embedding_logistic"): f"logistic, frozen {name}" for folder, name in FROM.items()},
}
SCRATCH, ALONE, LIGHTGBM = (
    MODELS[key] for key in (("scratch", "network"), ("scratch_sequence", "network"), ("scratch", "lightgbm"))
)
PAIRS = [
    *[
        (MODELS[of, model], SCRATCH)
        for of in ("next_event", "masked_event")
        for model in ("network", "embedding_rfm_lightgbm", "embedding_logistic")
    ],
    (MODELS["coles", "embedding_rfm_lightgbm"], SCRATCH),
    (MODELS["next_event_sequence", "network"], ALONE),
    (MODELS["next_event", "network"], LIGHTGBM),
    (MODELS["next_event", "embedding_rfm_lightgbm"], LIGHTGBM),
    (MODELS["coles", "embedding_rfm_lightgbm"], LIGHTGBM),
    (MODELS["next_event", "embedding_logistic"], MODELS["random", "embedding_logistic"]),
    (MODELS["coles", "embedding_logistic"], MODELS["random", "embedding_logistic"]),
]


def measure(folder: Path, share: str, seed: str, resamples: int) -> Bootstrap:
    """Every model that was run at one share and seed on the test snapshots, on the same draws of customers."""
    models = {key: name for key, name in MODELS.items() if (folder / key[0]).is_dir()}
    runs = {name: load_run(folder / name / share / seed) for name in dict.fromkeys(name for name, _ in models)}
    tables = {name: read_scores(run.scores, "test") for name, run in runs.items()}
    first = tables["scratch"]
    for table in tables.values():
        assert np.array_equal(table.customer, first.customer)
        assert np.array_equal(table.label, first.label)
    scores = {name: tables[of].score[model] for (of, model), name in models.items()}
    return bootstrap(binary_measure(first, scores, threshold=0.5), resamples=resamples)


def difference(boots: Sequence[Bootstrap], one: str, other: str, metric: str) -> tuple[float, float, float]:
    """Mean over seeds of `one` minus `other` with its 95 % interval over customers and seeds."""
    place, k = boots[0].models.index, boots[0].metrics.index(metric)
    value_S, found_RS = (
        np.stack(
            [getattr(boot, name)[..., place(one), k] - getattr(boot, name)[..., place(other), k] for boot in boots],
            axis=-1,
        )
        for name in ("value", "resampled")
    )
    num, seeds = found_RS.shape
    drawn_RS = np.random.default_rng(0).integers(seeds, size=(num, seeds))
    low, high = np.quantile(np.take_along_axis(found_RS, drawn_RS, axis=1).mean(1), [0.025, 0.975])
    return float(value_S.mean()), float(low), float(high)


def markdown(boots: dict[str, list[Bootstrap]]) -> list[str]:
    """AUC by model and share, then the paired differences."""
    heads = [f"{float(share):.0%} of the labels" for share in boots]
    seeds = len(next(iter(boots.values())))
    lines = [
        f"AUC on test, mean ± sd of {seeds} seeds:",
        "",
        f"| model | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    models = next(iter(boots.values()))[0].models
    for name in models:
        values = [[boot.interval(name, "auroc")["value"] for boot in found] for found in boots.values()]
        lines.append(
            f"| {name} | " + " | ".join(f"{np.mean(of):.4f} ± {np.std(of, ddof=1):.4f}" for of in values) + " |"
        )
    for metric, title in {"auroc": "AUC", "log_loss": "log loss"}.items():
        lines += ["", f"Differences in {title}, paired over customers and seeds (95 %):", ""]
        lines += [f"| difference | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
        for one, other in [pair for pair in PAIRS if set(pair) <= set(models)]:
            cells = [
                "{:+.4f} [{:+.4f}, {:+.4f}]".format(*difference(found, one, other, metric)) for found in boots.values()
            ]
            lines.append(f"| {one} − {other} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--study", type=Path, default=Path(__file__).parent, help="folder of results.csv and README.md")
    parser.add_argument("--log", help="name of one log of logs.sh: its own CSV and its own tables")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args(arguments)
    shares = sorted((path.name for path in (options.runs / "scratch").iterdir()), key=float)
    seeds = sorted(path.name for path in (options.runs / "scratch" / shares[0]).iterdir() if path.name.isdigit())
    boots = {share: [measure(options.runs, share, seed, options.resamples) for seed in seeds] for share in shares}
    rows = [
        {"label_share": float(share), "seed": int(seed), "model": name}
        | {metric: round(boot.interval(name, metric)["value"], 6) for metric in ("auroc", "auprc", "log_loss", "ece")}
        for share, found in boots.items()
        for seed, boot in zip(seeds, found, strict=True)
        for name in boot.models
    ]
    pd.DataFrame(rows).to_csv(options.study / f"{options.log or 'results'}.csv", index=False)
    readme = options.study / "README.md"
    text = readme.read_text()
    start = START.format(f" of {options.log}" if options.log else "")
    head, tail = text[: text.index(start) + len(start)], text[text.index(END, text.index(start)) :]
    readme.write_text("\n".join([head, *markdown(boots), tail]))


if __name__ == "__main__":
    main()
