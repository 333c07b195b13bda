"""How much order matters: a finished run's network asked again with the tokens of every test history in random order.

python experiments/order_matters/shuffle.py RUNS… → results.csv and the table in README.md, a line a run

The items and numbers of the tokens change places within the history that the network sees; the times stay where they
are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clm_dl.data.open import open_store
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.evaluation.bootstrap import draw
from clm_dl.experiment.inference import network_of, ranked_question
from clm_dl.experiment.rescoring import own_cases
from clm_dl.retrieval import take_ragged
from clm_dl.run import Run, load_run
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.ranks import rank

START, END = "<!-- results: made by experiments/order_matters/shuffle.py -->", "<!-- end of results -->"


def shuffled(batch: EventBatch, generator: torch.Generator) -> EventBatch:
    """The batch with its tokens' items and numbers in random order within each history; mask and times are kept."""
    key_BT = torch.where(
        batch.mask_BT, torch.rand(batch.mask_BT.shape, generator=generator), 2.0
    )  # padding stays behind
    order_BT = key_BT.argsort(dim=1)
    num_rows, num_tokens = order_BT.shape
    token_N = (order_BT + num_tokens * torch.arange(num_rows)[:, None]).flatten()  # [B·T], where each token comes from
    bags = {}
    for name, (ids_L, offset_N) in batch.bags.items():
        count_N = offset_N.diff()[token_N]
        moved_N = torch.cat([count_N.new_zeros(1), count_N.cumsum(0)])
        line_L = torch.arange(len(ids_L)) + torch.repeat_interleave(offset_N[token_N] - moved_N[:-1], count_N)
        bags[name] = (ids_L[line_L], moved_N)
    return replace(
        batch,
        categorical={name: ids_BT.gather(1, order_BT) for name, ids_BT in batch.categorical.items()},
        bags=bags,
        numeric_BTF=batch.numeric_BTF.flatten(0, 1)[token_N].view_as(batch.numeric_BTF),
    )


@torch.inference_mode()
def measure(run: Run, seed: int = 0, resamples: int = 1000) -> dict[str, float | str]:
    """NDCG of the run's network on test, as it is and shuffled, and the difference with its interval over customers.

    Raises:
        ValueError: the run ranks no items, or its log changed since it was trained.
    """
    trained, config = run.trained, run.config
    task, network = ranked_question(trained), network_of(trained)
    cases = own_cases(trained, open_store(config["data"], config["paths"]), run.metrics)
    inputs = task.inputs(cases, vocabulary=trained.vocabulary, schema=trained.schema)
    index_N, snapshots = np.flatnonzero(cases.snapshots.split == "test"), cases.snapshots
    targets, seen = (take_ragged(part, index_N) for part in (cases.targets, cases.seen))
    vectors_VD, generator, k = network.tower.vectors(), torch.Generator().manual_seed(seed), config["k"]
    ndcg = []
    for change in (lambda batch: batch, lambda batch: shuffled(batch, generator)):
        z_ND = torch.empty(len(snapshots), vectors_VD.shape[1])
        for batch in inputs.loader(index_N):
            z_ND[batch.index_B] = network.embed(change(batch))
        ranks = rank(
            lambda index_B, z_ND=z_ND: network.tower.similarity(z_ND[index_B], vectors_VD),
            index_N,
            targets=targets,
            seen=seen,
            num_items=len(vectors_VD),
            k=k,
            repeats=config["policy"]["repeats"],
        )
        found = snapshot_metrics(
            ranks.target_offsets, ranks.above, ranks.ties, ranks.candidates, num_items=len(vectors_VD), k=k
        )
        ndcg.append(found[f"ndcg@{k}"])
    code_N = np.unique(snapshots.customer[index_N], return_inverse=True)[1]
    weight_RC = draw(np.random.default_rng(seed), resamples, int(code_N.max()) + 1)
    low, high = np.quantile(
        weight_RC @ np.bincount(code_N, ndcg[1] - ndcg[0]) / (weight_RC @ np.bincount(code_N)), [0.025, 0.975]
    )
    as_is, random = (float(value_N.mean()) for value_N in ndcg)
    return {
        "data": config["data"]["name"],
        "task": config["task"]["name"],
        "encoder": config["encoder"]["name"],
        "seed": config["seed"],
        f"ndcg@{k}": as_is,
        "shuffled": random,
        "difference": random - as_is,
        "low": float(low),
        "high": float(high),
    }


def markdown(table: pd.DataFrame) -> str:
    lines = [
        f"| data | task | encoder | seed | {table.columns[4]} | shuffled | difference | share lost |",
        "|---" * 8 + "|",
    ]
    for data, task, encoder, seed, as_is, random, difference, low, high in table.itertuples(index=False):
        interval = f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(
            f"| {data} | {task} | {encoder} | {seed} | {as_is:.4f} | {random:.4f} | {interval} | "
            f"{-difference / as_is:.0%} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or folders above them")
    parser.add_argument("--study", type=Path, default=Path(__file__).parent, help="folder of results.csv and README.md")
    parser.add_argument("--seed", type=int, default=0, help="of the random orders")
    options = parser.parse_args(arguments)
    runs = [load_run(file.parent) for path in options.runs for file in sorted(path.glob("**/status.json"))]
    rows = [
        measure(run, options.seed)
        for run in runs
        if run.status["state"] == "finished" and run.config["encoder"]["name"] != "none"
    ]
    table = pd.DataFrame(rows).round(6)
    table.to_csv(options.study / "results.csv", index=False)
    readme = options.study / "README.md"
    text = readme.read_text()
    head, tail = text[: text.index(START) + len(START)], text[text.index(END) :]
    readme.write_text(f"{head}\n{markdown(table)}\n{tail}")
    print(markdown(table))


if __name__ == "__main__":
    main()
