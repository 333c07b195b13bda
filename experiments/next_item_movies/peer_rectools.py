"""RecTools' SASRec with softmax loss on a store's leave-one-out split, tuned on validation within a budget of CPU
seconds: one JSON line.

PYTHON_WITH_RECTOOLS experiments/next_item_movies/peer_rectools.py STORE --data NAME --budget 3600 [--seeds 5]

The configurations of the grid are tried in a random order, the first value of each option first of all, until the
budget is spent. Each trains until its validation NDCG@10 has not risen for `--patience` epochs; the weights of its best
epoch count. The best configuration is then trained again from further seeds, outside the budget. All items but the
history are ranked; a target that training never saw is a miss.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

GRID = {
    "lr": (1e-3, 3e-4, 3e-3),
    "dropout_rate": (0.2, 0.1, 0.3, 0.5),
    "n_factors": (64, 128),
    "session_max_len": (100, 50, 200),
    "batch_size": (32, 128),
}
K = 10


def read_split(store: Path, min_events: int = 3) -> dict[str, np.ndarray]:
    """Customer, item and place of every item line of a store, by its codes, and the split of each line: 0 train, 1
    validation, 2 test.
    """
    offsets, item = np.load(store / "offsets.npy"), np.load(store / "field_item.npy")
    customer = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[item >= 0]
    item = item[item >= 0]
    count = np.bincount(customer)
    place = np.arange(len(customer)) - np.repeat(np.cumsum(count) - count, count)
    left = count[customer] - place  # 1 for the last line of a customer
    split = np.where((left <= 2) & (count[customer] >= min_events), 3 - left, 0)
    return {"customer": customer, "item": item, "place": place, "split": split}


class Peer:
    """One data set and the models tried on it."""

    def __init__(self, split: dict[str, np.ndarray], patience: int, max_epochs: int):
        import pandas as pd
        from rectools import Columns

        self.patience, self.max_epochs, self.split = patience, max_epochs, split
        start = pd.Timestamp("2000-01-01")  # only the order counts: every line has a second of its own
        columns = {Columns.User: split["customer"], Columns.Item: split["item"], Columns.Weight: 1.0}
        self.lines = pd.DataFrame({**columns, Columns.Datetime: start + pd.to_timedelta(split["place"], unit="s")})

    def quality(self, model: Any, part: int) -> dict[str, float]:
        """HR and NDCG of the lines of one split, asked from everything before them."""
        from rectools import Columns
        from rectools.dataset import Dataset

        known, wanted = self.lines[self.split["split"] < part], self.lines[self.split["split"] == part]
        listed = model.recommend(
            wanted[Columns.User].to_numpy(),
            Dataset.construct(known),
            k=K,
            filter_viewed=True,
            on_unsupported_targets="ignore",
        )
        found = wanted.merge(listed[[Columns.User, Columns.Item, Columns.Rank]], on=[Columns.User, Columns.Item])
        place = found[Columns.Rank].to_numpy(float)
        return {"hr@10": len(place) / len(wanted), "ndcg@10": float((1 / np.log2(place + 1)).sum() / len(wanted))}

    def train(self, options: dict[str, Any], seed: int, until: float) -> tuple[float, Any, int]:
        """Best validation NDCG, the model with those weights, and the epochs it took; stops at `until` of this
        process's CPU clock.
        """
        from pytorch_lightning import Callback, Trainer, seed_everything
        from rectools.dataset import Dataset
        from rectools.models import SASRecModel

        seed_everything(seed, verbose=False)
        peer, best = self, {"ndcg": -1.0, "epoch": 0, "weights": {}}

        class Validate(Callback):
            def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
                epoch, model.is_fitted = trainer.current_epoch + 1, True
                ndcg = peer.quality(model, 1)["ndcg@10"]
                module.train()
                if ndcg > best["ndcg"]:
                    weights = {name: value.clone() for name, value in module.torch_model.state_dict().items()}
                    best.update(ndcg=ndcg, epoch=epoch, weights=weights)
                trainer.should_stop = epoch - best["epoch"] >= peer.patience or time.process_time() > until

        def trainer() -> Trainer:
            quiet = dict.fromkeys(
                ("enable_progress_bar", "logger", "enable_model_summary", "enable_checkpointing"), False
            )
            return Trainer(accelerator="cpu", max_epochs=self.max_epochs, callbacks=[Validate()], **quiet)

        model = SASRecModel(
            n_blocks=2, n_heads=1, loss="softmax", recommend_torch_device="cpu", get_trainer_func=trainer, **options
        )
        model.fit(Dataset.construct(self.lines[self.split["split"] == 0]))
        model.torch_model.load_state_dict(best["weights"])
        return best["ndcg"], model, best["epoch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the event store")
    parser.add_argument("--data", required=True, help="name of the data set in the study")
    parser.add_argument(
        "--budget", type=float, default=3600.0, help="CPU seconds of the whole tuning, validation included"
    )
    parser.add_argument("--seeds", type=int, default=5, help="of the chosen configuration")
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--max-epochs", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)
    import torch
    from rectools import __version__

    torch.set_num_threads(options.threads)
    peer = Peer(read_split(options.store), options.patience, options.max_epochs)
    grid = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    order = [0, *(1 + np.random.default_rng(0).permutation(len(grid) - 1))]
    started, trials = time.process_time(), []
    best: tuple[float, Any, dict[str, Any]] | None = None
    for chosen in (grid[place] for place in order):
        began = time.process_time()
        if best is not None and began > started + options.budget:
            break
        ndcg, model, epochs = peer.train(chosen, 0, started + options.budget)
        trials.append(
            {
                **chosen,
                "ndcg@10 validation": round(ndcg, 6),
                "best_epoch": epochs,
                "cpu_s": round(time.process_time() - began, 1),
            }
        )
        print(json.dumps(trials[-1]), file=sys.stderr, flush=True)
        if best is None or ndcg > best[0]:
            best = (ndcg, model, chosen)
    assert best is not None
    spent = time.process_time() - started
    runs = [{"seed": 0, "ndcg@10 validation": best[0], **peer.quality(best[1], 2)}]
    for seed in range(1, options.seeds):
        ndcg, model, _ = peer.train(best[2], seed, float("inf"))
        runs.append({"seed": seed, "ndcg@10 validation": ndcg, **peer.quality(model, 2)})
    runs = [{name: round(value, 6) for name, value in run.items()} for run in runs]
    line = {"data": options.data, "model": f"RecTools {__version__} SASRec", "chosen": best[2], "runs": runs}
    print(json.dumps({**line, "budget_cpu_s": options.budget, "spent_cpu_s": round(spent, 1), "trials": trials}))


if __name__ == "__main__":
    main()
