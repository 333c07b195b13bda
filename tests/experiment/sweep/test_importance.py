"""Importance of settings: the one that decides comes first, what does nothing has next to no share."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from clm_dl.experiment.sweep.importance import importance


def trials(count: int = 36) -> pd.DataFrame:
    """A grid whose objective is 3 for one encoder, moves by 1 over the learning rates and by .01 over the seeds."""
    grid = list(itertools.product(["lstm", "gru"], [0.001, np.nan, 0.01], range(6)))[:count]
    table = pd.DataFrame(grid, columns=["encoder", "lr", "seed"])
    table["value"] = 3.0 * (table["encoder"] == "lstm") + table["lr"].eq(0.01) + 0.01 * (table["seed"] % 2)
    table.insert(0, "trial", [str(number) for number in range(len(table))])
    table.insert(4, "state", "finished")
    return table.assign(objective="log_loss")


def test_what_decides_comes_first_and_the_shares_are_those_of_the_variance() -> None:
    found = importance(trials())
    assert found["setting"].tolist() == ["encoder", "lr", "seed"]
    assert found["share"].to_numpy() == pytest.approx([2.25 / 2.472, 0.222 / 2.472, 0.0], abs=0.02)  # by hand
    assert set(found["trials"]) == {36}
    assert importance(trials()).equals(found)


def test_nothing_is_said_of_few_trials_one_setting_or_equal_values() -> None:
    table = trials()
    assert importance(table.head(4)).empty
    assert importance(table.assign(encoder="lstm", seed=0)).empty
    assert importance(table.assign(value=1.0)).empty
    assert importance(table.assign(value=np.nan)).empty


def test_each_objective_is_looked_at_by_itself() -> None:
    table = pd.concat([trials(), trials().assign(objective="auroc", value=lambda rows: rows["seed"] / 10)])
    found = importance(table)
    assert found.groupby("objective", sort=False)["setting"].first().to_dict() == {
        "log_loss": "encoder",
        "auroc": "seed",
    }
