"""Labels of a file: what is used, what is counted, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.label_file import read_given
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.experiment import describe_labels


def written(frame: pd.DataFrame, path: Path) -> Path:
    """`frame` as a CSV or Parquet file."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    """Customers 0 and 1 with an event each."""
    return write_store(
        tmp_path / "s",
        customer_ids=np.arange(2),
        offsets=np.arange(3),
        time=np.array([0, 3 * DAY]),
        columns={},
        fields=[],
        dictionaries={},
        end=10 * DAY,
        fingerprint="test",
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_given_labels_count_what_they_cannot_use(store: EventStore, tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame(
        {
            "customer": [0, 1, 7, 1, 1],
            "time": ["1970-01-05", "1970-01-06 12:00", "1970-01-05", "someday", "1970-01-06 12:00"],
            "label": [1, 0, 1, 0, None],
        }
    )
    used, counts = read_given(store, written(frame, tmp_path / f"labels.{suffix}"))
    assert used.to_dict("list") == {"customer": [0, 1], "cutoff": [4 * DAY, round(5.5 * DAY)], "label": [1.0, 0.0]}
    assert counts == {"given_rows": 5, "unknown_customer": 1, "unparseable_time": 1, "repeated": 1}


def test_labels_that_contradict_each_other_are_left_out_and_said(store: EventStore, tmp_path: Path) -> None:
    frame = pd.DataFrame({"customer": [0, 0, 0, 1, 1, 7, 7], "time": "1970-01-05", "label": [1, 0, 1, 1, 1, 0, 1]})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    used, counts = read_given(store, tmp_path / "labels.csv")
    assert used.to_dict("list") == {"customer": [1], "cutoff": [4 * DAY], "label": [1.0]}
    assert counts == {"given_rows": 7, "unknown_customer": 2, "unparseable_time": 0, "contradicting": 3, "repeated": 1}
    assert "contradicting: 3" in describe_labels(counts)


def test_an_empty_label_gives_way_to_one_of_its_customer_and_time(store: EventStore, tmp_path: Path) -> None:
    frame = pd.DataFrame({"customer": [0, 0, 1, 1, 1], "time": "1970-01-05", "label": [None, 1, None, None, 0]})
    for number, rows in enumerate((frame, frame[::-1])):
        rows.to_csv(tmp_path / f"{number}.csv", index=False)
        used, counts = read_given(store, tmp_path / f"{number}.csv")
        assert dict(zip(used["customer"], used["label"], strict=True)) == {0: 1.0, 1: 0.0}
        assert counts["repeated"] == 3


def test_given_labels_say_what_is_wrong(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        read_given(store, tmp_path / "none.csv")
    path = tmp_path / "labels.csv"
    path.write_text("customer,time,label\n0,1970-01-05,maybe\n")
    with pytest.raises(ValueError, match="got 'maybe'"):
        read_given(store, path)
    path.write_text("customer,when,label\n0,1970-01-05,1\n")
    with pytest.raises(ValueError, match="no column 'time'"):
        read_given(store, path)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_of_given_labels_keep_their_zeros(tmp_path: Path, suffix: str) -> None:
    ids = np.array(["0950", "1000", "17850", "950"], dtype=object)
    options = {"columns": {}, "fields": [], "dictionaries": {}, "end": 10 * DAY, "fingerprint": "test"}
    store = write_store(tmp_path / "t", customer_ids=ids, offsets=np.arange(5), time=np.zeros(4, int), **options)
    who = ["0950", "1000", "950", "17850.0", "00950", "NULL", None]
    frame = pd.DataFrame({"customer": who, "time": "1970-01-05", "label": ["1", "0", "1", "0", "1", "1", "1"]})
    used, counts = read_given(store, written(frame, tmp_path / f"labels.{suffix}"))
    assert used["customer"].tolist() == [0, 1, 3, 2]
    assert counts == {"given_rows": 7, "unknown_customer": 3, "unparseable_time": 0, "repeated": 0}


def test_given_labels_may_be_words_for_missing(store: EventStore, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("customer;time;label\n0.0;1970-01-05;NA\n1;1970-01-05;1.0\n")
    used, _ = read_given(store, path)
    assert used["customer"].tolist() == [0, 1]
    np.testing.assert_array_equal(used["label"], [np.nan, 1])
