"""The leakage probe: finds columns that give the label however they are coded, and no honest one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.evaluation.leakage import leakage_lines, leaks

CODES: dict[str, Callable[[np.ndarray, np.random.Generator], Any]] = {
    "as it is": lambda y, rng: y,
    "reversed": lambda y, rng: -3.0 * y,
    "in words": lambda y, rng: np.where(y == 1, "left", "stays"),
    "as a category": lambda y, rng: pd.Categorical(np.where(y == 1, "left", "stays")),
    "bool": lambda y, rng: y == 1,
    "missing where nothing came": lambda y, rng: np.where(y == 1, rng.random(len(y)), np.nan),
    "missing words": lambda y, rng: np.where(y == 1, "2024-01-01", None),
    "either end of a number": lambda y, rng: np.where(
        y == 1, rng.choice([-1, 1], len(y)) * (2 + rng.random(len(y))), rng.random(len(y))
    ),
    "one of few in a thousand wrong": lambda y, rng: np.where(rng.random(len(y)) < 0.005, 1 - y, y),
}


def rows(seed: int, num: int = 600, share: float = 0.2) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return (rng.random(num) < share).astype(float), rng


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("seed", range(3))
def test_a_column_that_gives_the_label_is_found(code: str, seed: int) -> None:
    y, rng = rows(seed)
    table = pd.DataFrame({"noise": rng.random(len(y)), "leak": CODES[code](y, rng)})
    label = np.where(rng.random(len(y)) < 0.1, np.nan, y)
    assert list(leaks(table, label, np.arange(len(y)))) == ["leak"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(1, 400), share=st.floats(0.0, 1.0))
def test_honest_columns_are_not(seed: int, num: int, share: float) -> None:
    y, rng = rows(seed, num, share)
    table = pd.DataFrame({f"n{i}": rng.random(num) for i in range(10)})
    table["id"] = [f"c{i}" for i in range(num)]  # a value of its own each row
    table["customer"] = np.repeat(np.arange(num), 2)[:num].astype(str)
    table["good"] = y + rng.normal(0, 1, num)
    table["empty"], table["constant"] = np.nan, "x"
    assert leaks(table, y, np.repeat(np.arange(num), 2)[:num]) == {}


def test_the_sentence_names_the_column() -> None:
    [line] = leakage_lines({"threshold": 0.98, "columns": {"status": 1.0}})
    assert "status (AUC 1.000)" in line
    assert leakage_lines(None) == []
