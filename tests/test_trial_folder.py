"""Folders of trials: whatever is swept, the name is one that every file system takes, and tells no password."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clm_dl.trial_folder import LONGEST, trial_folder


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("encoder=lstm,seed=0", "3_encoder=lstm,seed=0"),
        ("", "3"),
        (None, "3"),
        ("data.path=in/a.csv", "3_data.path=in-a.csv"),
        ("data.categorical=[dept, brand]", "3_data.categorical=-dept,-brand"),
        ("data.path=postgres://me:hunter2@host/db", "3_data.path=postgres-me-host-db"),
        ("task.optimizer.lr=1e-3", "3_task.optimizer.lr=1e-3"),
    ],
)
def test_name(settings: str | None, name: str) -> None:
    assert trial_folder(3, settings) == name


@given(st.integers(0, 999), st.text(max_size=400))
def test_any_name_is_safe(number: int, settings: str) -> None:
    name = trial_folder(number, settings)
    assert len(name.encode()) <= LONGEST
    assert re.fullmatch(r"[\w.,=+-]+", name)
    assert re.match(r"\d+", name)[0] == str(number) or settings[:1].isdigit()


def test_long_settings_stay_apart() -> None:
    first, second = (trial_folder(0, "x" * 300 + end) for end in "ab")
    assert first != second
