"""RecBole's SASRec or GRU4Rec, as its authors configure it, on a store's leave-one-out split in a budget of CPU
seconds: one JSON line.

PYTHON_WITH_RECBOLE experiments/next_item_ml100k/peer_recbole.py STORE --data NAME --budget 400 [--model GRU4Rec]

RecBole trains a row a prefix and stops by its own validation NDCG@10; no epoch begins after the budget is spent, the
best one counts. It masks no history for sequential models, so ranks are taken from its scores with the history removed,
as for every model of the study.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "next_item_movies"))
from peer_rectools import read_split  # the same targets from the same histories

K = 10


def quality(scores_BV: np.ndarray, target_B: np.ndarray) -> dict[str, float]:
    """HR, NDCG and MRR of one target a row, ties by expectation of the place."""
    wanted_B1 = scores_BV[np.arange(len(target_B)), target_B][:, None]
    place_B = (scores_BV > wanted_B1).sum(axis=1) + ((scores_BV == wanted_B1).sum(axis=1) - 1) / 2
    hit_B = place_B < K
    return {
        "hr@10": float(hit_B.mean()),
        "ndcg@10": float((hit_B / np.log2(place_B + 2)).mean()),
        "mrr": float((1 / (place_B + 1)).mean()),
    }


def asked(model: Any, loader: Any, dataset: Any, split: dict[str, np.ndarray], part: int) -> dict[str, float]:
    """Quality of the targets of one split, everything before them removed from the ranking; the targets are those of
    the store.
    """
    import torch

    model.eval()
    parts = []
    with torch.no_grad():
        for lines, _, _, target in loader:
            parts.append(
                (model.full_sort_predict(lines).view(len(lines), -1).numpy(), lines["user_id"].numpy(), target.numpy())
            )
    scores_BV, customer_B, target_B = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    code_of_customer = {str(name): code for code, name in enumerate(dataset.field2id_token["user_id"])}
    code_of_item = {str(name): code for code, name in enumerate(dataset.field2id_token["item_id"])}
    customer = np.array([code_of_customer[str(code)] for code in split["customer"]])
    item = np.array([code_of_item[str(code)] for code in split["item"]])
    row_of = np.full(customer.max() + 1, -1)
    row_of[customer_B] = np.arange(len(customer_B))
    wanted, before = split["split"] == part, split["split"] < part
    assert np.array_equal(target_B[row_of[customer[wanted]]], item[wanted]), (
        "RecBole's targets are not those of the store"
    )
    scores_BV[:, 0] = -np.inf  # its padding
    scores_BV[row_of[customer[before]], item[before]] = -np.inf
    return quality(scores_BV, target_B)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of the event store; every customer has three lines or more")
    parser.add_argument("--data", required=True, help="name of the data set in the study")
    parser.add_argument("--budget", type=float, default=400.0, help="CPU seconds of training and validation")
    parser.add_argument("--model", choices=["SASRec", "GRU4Rec"], default="SASRec")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    import recbole
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    torch.set_num_threads(options.threads)
    logging.disable(logging.CRITICAL)
    split = read_split(options.store)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "log").mkdir()
        lines = np.column_stack([split["customer"], split["item"], split["place"]])
        header = "user_id:token\titem_id:token\ttimestamp:float"
        np.savetxt(Path(folder) / "log" / "log.inter", lines, fmt="%d", delimiter="\t", header=header, comments="")
        settings = {
            "data_path": folder,
            "checkpoint_dir": folder,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "USER_ID_FIELD": "user_id",
            "ITEM_ID_FIELD": "item_id",
            "TIME_FIELD": "timestamp",
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
            "train_neg_sample_args": None,
            "loss_type": "CE",
            "metrics": ["NDCG"],
            "topk": [K],
            "valid_metric": f"NDCG@{K}",
            "use_gpu": False,
            "show_progress": False,
            "seed": options.seed,
            "reproducibility": True,
            "state": "ERROR",
        }
        sys.argv, at = sys.argv[:1], os.getcwd()
        os.chdir(folder)  # RecBole leaves folders where it runs
        config = Config(model=options.model, dataset="log", config_dict=settings)
        init_seed(options.seed, True)
        dataset = create_dataset(config)
        training, validation, test = data_preparation(config, dataset)
        model = get_model(options.model)(config, training._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], options.model)(config, model)
        started, epoch = time.process_time(), 0
        best: dict[str, Any] = {"ndcg": -1.0, "epoch": 0, "weights": {}}
        while epoch - best["epoch"] < options.patience and time.process_time() < started + options.budget:
            trainer._train_epoch(training, epoch, show_progress=False)
            epoch += 1
            ndcg = trainer._valid_epoch(validation, show_progress=False)[1][f"ndcg@{K}"]
            if ndcg > best["ndcg"]:
                best.update(
                    ndcg=ndcg, epoch=epoch, weights={name: value.clone() for name, value in model.state_dict().items()}
                )
        spent = time.process_time() - started
        model.load_state_dict(best["weights"])
        known = asked(model, validation, dataset, split, 1)
        run = {"seed": options.seed, "ndcg@10 validation": known["ndcg@10"], **asked(model, test, dataset, split, 2)}
        os.chdir(at)
    line = {
        "data": options.data,
        "model": f"RecBole {recbole.__version__} {options.model}",
        "runs": [run],
        "epochs": epoch,
    }
    print(
        json.dumps(
            {**line, "best_epoch": best["epoch"], "budget_cpu_s": options.budget, "spent_cpu_s": round(spent, 1)}
        )
    )


if __name__ == "__main__":
    main()
