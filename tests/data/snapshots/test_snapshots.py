"""Snapshots: population, splits with embargo, held-out customers, folds, given labels, bad input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support import rule, snapshots_of

from clm_dl.data.snapshots.scoring import later_snapshots, scoring_snapshots
from clm_dl.data.snapshots.snapshots import SPLITS, Snapshots, check_classes
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore
from clm_dl.data.zone import DAY, UTC


def make_store(path: Path, logs: list[list[float]], end: float) -> EventStore:
    return write_store(
        path,
        customer_ids=np.array([f"c{i}" for i in range(len(logs))], dtype=object),
        offsets=np.concatenate([[0], np.cumsum([len(log) for log in logs])]),
        time=np.array([round(day * DAY) for log in logs for day in log], dtype=np.int64),
        columns={},
        fields=[],
        dictionaries={},
        end=round(end * DAY),
        fingerprint="test",
    )


def random_logs(seed: int, num_customers: int = 60, days: int = 200) -> list[list[float]]:
    """Events on whole days, as in a daily log: many lie exactly at a cutoff, or exactly N days before it."""
    rng = np.random.default_rng(seed)
    return [sorted(rng.integers(0, days, rng.integers(1, 12)).tolist()) for _ in range(num_customers)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    return make_store(tmp_path_factory.mktemp("snapshots") / "store", random_logs(0), 200)


def dates(*days: float) -> list[str]:
    return [UTC.iso(round(day * DAY)) for day in days]


EXPLICIT = {"train": dates(60, 80), "val": dates(100, 110), "test": dates(150)}


def rows(snapshots: Snapshots) -> set[tuple]:
    return set(
        zip(
            snapshots.customer.tolist(),
            snapshots.cutoff.tolist(),
            snapshots.split.tolist(),
            snapshots.label.tolist(),
            strict=True,
        )
    )


def test_equal_plain_python(store: EventStore) -> None:
    snapshots = snapshots_of(store, horizon_days=20, active_days=40, recent_days=15, **EXPLICIT)
    expected, recent = set(), 0
    for customer in range(store.num_customers):
        events = store.time[store.offsets[customer] : store.offsets[customer + 1]] / DAY
        for split, days in {"train": [60, 80], "val": [100, 110], "test": [150]}.items():
            for day in days:
                if any((events >= day - 40) & (events < day)):
                    churned = not any((events >= day) & (events < day + 20))
                    expected.add((customer, day * DAY, split, float(churned)))
                    recent += any((events >= day - 15) & (events < day))
    assert rows(snapshots) == expected
    assert len(snapshots) == len(expected)
    assert snapshots.recent.sum() == recent
    assert (store.time[snapshots.stop - 1] < snapshots.cutoff).all()
    assert (snapshots.start == store.offsets[snapshots.customer]).all()


DAILY = {"train": [20], "val": [35], "test": [50]}  # days of the cutoffs


@settings(max_examples=40, deadline=None)
@given(
    logs=st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=8).map(sorted), min_size=1, max_size=4),
    active=st.integers(1, 20),
    recent=st.integers(1, 20),
    gap=st.integers(0, 5),
    horizon=st.integers(1, 10),
)
@example(
    logs=[[10, 40], [9, 39], [10, 20, 50]], active=10, recent=10, gap=0, horizon=5
)  # N days before, one more, at the cutoff
@example(logs=[[10, 40], [9, 39], [10, 20, 50]], active=20, recent=10, gap=0, horizon=5)  # the same of the recent days
@example(logs=[[15, 22], [15, 21], [15, 27]], active=10, recent=5, gap=2, horizon=5)  # either end of the label window
def test_daily_logs_equal_plain_python(tmp_path_factory, logs, active, recent, gap, horizon) -> None:
    logs = [*logs, list(range(60))]  # somebody is always in the population
    store = make_store(tmp_path_factory.mktemp("daily") / "store", logs, 65)
    lists = {split: dates(*days) for split, days in DAILY.items()}
    asked = {"horizon_days": horizon, "gap_days": gap, "active_days": active, "recent_days": recent}
    snapshots = snapshots_of(store, **asked, **lists)
    expected, recently = set(), {}
    for customer, log in enumerate(logs):
        for split, days in DAILY.items():
            for day in days:
                if any(day - active <= event < day for event in log):
                    churned = not any(day + gap <= event < day + gap + horizon for event in log)
                    expected.add((customer, day * DAY, split, float(churned)))
                    recently[customer, day * DAY] = any(day - recent <= event < day for event in log)
    assert rows(snapshots) == expected
    assert dict(zip(zip(snapshots.customer, snapshots.cutoff, strict=True), snapshots.recent, strict=True)) == recently
    events = [
        sum(day * DAY < at for day in logs[who]) for who, at in zip(snapshots.customer, snapshots.cutoff, strict=True)
    ]
    np.testing.assert_array_equal(snapshots.stop - snapshots.start, events)
    later = later_snapshots(store, np.array([50 * DAY]), rule(**asked))
    scored, in_population = scoring_snapshots(store, 50 * DAY, rule(**asked))
    test = snapshots.select(snapshots.split == "test")
    assert rows(later) == rows(test)
    np.testing.assert_array_equal(scored.customer[in_population], test.customer)
    np.testing.assert_array_equal(scored.recent[in_population], test.recent)


MICROSECOND = 1 / DAY
EDGE = [  # two customers with an event just inside the last 10 days before day 50, three without
    [20, 40],
    [20, 50 - MICROSECOND],
    [20, 40 - MICROSECOND],
    [20, 50],
    [20],
]


@pytest.mark.parametrize("labels", ["computed", "given", "later", "scored"])
def test_the_last_n_days_begin_with_an_event_n_days_before_the_cutoff(tmp_path: Path, labels: str) -> None:
    logs = [*EDGE, [*range(0, 50, 5), 55]]
    store = make_store(tmp_path / "store", logs, 100)
    lists = {"train": dates(10), "val": dates(30), "test": dates(50)}
    found = []
    for active in (None, 10):
        asked = {"horizon_days": 20, "recent_days": 10, "active_days": active}
        if labels == "scored":
            snapshots, inside = scoring_snapshots(store, 50 * DAY, rule(**asked))
        elif labels == "later":
            snapshots = later_snapshots(store, np.array([50 * DAY]), rule(**asked))
        else:
            frame = pd.DataFrame([(f"c{number}", day, 1) for number in range(6) for day in dates(10, 30, 50)])
            frame.columns = ["customer", "time", "label"]
            frame.to_csv(tmp_path / "labels.csv", index=False)
            given_labels = {"labels": {"name": "given", "path": tmp_path / "labels.csv"}} if labels == "given" else {}
            snapshots = snapshots_of(store, **asked, **given_labels, **lists)
        chosen = snapshots.select(inside if labels == "scored" else snapshots.cutoff == 50 * DAY)
        found.append((chosen.customer.tolist(), chosen.recent.tolist()))
    assert found == [([0, 1, 2, 3, 4, 5], [True, True, False, False, False, True]), ([0, 1, 5], [True, True, True])]


def test_sorted_by_split_cutoff_customer(store: EventStore) -> None:
    snapshots = snapshots_of(store, horizon_days=20, **EXPLICIT)
    rank = np.array([SPLITS.index(split) for split in snapshots.split])
    keys = list(zip(rank.tolist(), snapshots.cutoff.tolist(), snapshots.customer.tolist(), strict=True))
    assert keys == sorted(keys)
    assert snapshots.cutoff_dates() == EXPLICIT


def test_validation_parts(store: EventStore) -> None:
    snapshots = snapshots_of(store, horizon_days=20, **EXPLICIT)
    assert set(snapshots.cutoff[snapshots.early_stopping] / DAY) == {100}
    assert set(snapshots.cutoff[snapshots.calibration] / DAY) == {110}
    single = snapshots_of(store, horizon_days=20, **{**EXPLICIT, "val": dates(100)})
    assert single.early_stopping.sum() == single.calibration.sum() > 0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    horizon=st.integers(3, 25),
    gap=st.integers(0, 8),
    every=st.integers(1, 30),
    fold=st.integers(0, 2),
    held=st.sampled_from([0.0, 0.3]),
)
@example(seed=0, horizon=10, gap=5, every=5, fold=1, held=0.0)
@example(seed=0, horizon=10, gap=5, every=5, fold=0, held=0.3)
def test_auto_windows_never_reach_a_later_split(tmp_path_factory, seed, horizon, gap, every, fold, held) -> None:
    store = make_store(tmp_path_factory.mktemp("auto") / "store", random_logs(seed, 12, 150), 150)
    try:
        snapshots = snapshots_of(
            store, horizon_days=horizon, gap_days=gap, every_days=every, folds=3, fold=fold, val_customers=held
        )
    except ValueError:
        assume(False)
    span = (horizon + gap) * DAY
    first = {split: snapshots.cutoff[snapshots.split == split].min() for split in SPLITS}
    last = {split: snapshots.cutoff[snapshots.split == split].max() for split in SPLITS}
    assert last["test"] <= store.end - (fold + 1) * span
    assert first["test"] > last["test"] - span
    assert last["train"] + span <= first["test"]
    assert last["val"] + span <= first["test"]
    if held:
        assert not set(snapshots.customer[snapshots.split == "val"]) & set(
            snapshots.customer[snapshots.split == "train"]
        )
    else:
        assert last["train"] + span <= first["val"]
        assert first["val"] > last["val"] - span
    assert not np.isnan(snapshots.label).any()


def test_auto_grid_by_hand(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [[day + 0.5 for day in range(100)], [0.5]], 100)
    snapshots = snapshots_of(store, horizon_days=20, every_days=10)
    # L = 80; test in (60, 80]; val matures by 70: newest 50, in (30, 50]; train matures by 40
    assert snapshots.cutoff_dates() == {"train": dates(10, 20), "val": dates(40, 50), "test": dates(70, 80)}
    back = snapshots_of(
        make_store(tmp_path / "t", [[day + 0.5 for day in range(120)], [0.5]], 120),
        horizon_days=20,
        every_days=10,
        folds=2,
        fold=1,
    )
    assert back.cutoff_dates() == snapshots.cutoff_dates()


def test_auto_leaves_validation_and_test_room_to_be_followed_and_takes_all_of_training(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [[day + 0.5 for day in range(200)], [0.5]], 200)
    snapshots = snapshots_of(store, horizon_days=20, every_days=10, follow_days=30)
    # test in (130, 150]; val by 140 − 50: in (70, 90]; train needs no more than its label windows: by 80 − 20
    assert snapshots.cutoff_dates() == {
        "train": dates(*range(10, 70, 10)),
        "val": dates(80, 90),
        "test": dates(140, 150),
    }


def test_a_window_ends_no_microsecond_after_a_later_split_begins(tmp_path: Path) -> None:
    """Cutoffs lie a microsecond less than a horizon apart: the one next to a later split is that much too late."""
    store = make_store(tmp_path / "s", [[day + 0.5 for day in range(100)], [0.5]], 100)
    snapshots = snapshots_of(store, horizon_days=10, every_days=10 - MICROSECOND)
    found = {split: np.unique(snapshots.cutoff[snapshots.split == split]).tolist() for split in SPLITS}
    # 90 days, 80 and 1 µs, 70 and 2 µs, …: test in (80, 90]; val by 70 and 1 µs; train by 40 and 4 µs
    steps = [90 * DAY - number * (10 * DAY - 1) for number in range(9)]
    assert found == {"train": steps[:5:-1], "val": steps[4:2:-1], "test": steps[1::-1]}
    for before, after in (("train", "val"), ("val", "test")):
        assert found[before][-1] + 10 * DAY <= found[after][0]


def test_a_cutoff_lies_behind_the_first_event_and_not_behind_the_end(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [[5, 30, 62], [5, 70]], 100)
    lists = {"train": dates(25), "val": dates(50), "test": dates(70, 100)}
    snapshots = snapshots_of(store, horizon_days=20, **lists)
    assert snapshots.cutoff_dates() == lists
    assert np.isnan(snapshots.label[snapshots.cutoff == 100 * DAY]).all()
    with pytest.raises(ValueError, match="train cutoff 1970-01-06 is outside the data"):
        snapshots_of(store, horizon_days=20, **{**lists, "train": dates(5)})
    with pytest.raises(ValueError, match="no train cutoff is left in the data after moving back by 20 days"):
        snapshots_of(store, horizon_days=20, folds=2, fold=1, **lists)  # from 25 to 5: nobody has a history there


def test_folds_move_listed_cutoffs_back(store: EventStore) -> None:
    lists = {"train": dates(20, 60, 80), "val": dates(100), "test": dates(150)}
    snapshots = snapshots_of(store, horizon_days=20, gap_days=0, folds=2, fold=1, **lists)
    assert snapshots.cutoff_dates() == {
        "train": dates(40, 60),
        "val": dates(80),
        "test": dates(130),
    }  # day 0 left the data


def test_val_customers_are_out_of_training_at_every_cutoff(store: EventStore) -> None:
    lists = {name: EXPLICIT[name] for name in ("train", "test")}
    snapshots = snapshots_of(store, horizon_days=20, val_customers=0.25, seed=3, **lists)
    held = set(snapshots.customer[snapshots.split == "val"])
    assert 0 < len(held) <= 15
    validation = (snapshots.split == "val") & ~np.isnan(
        snapshots.label
    )  # no validation cutoff is newer than training: all serve both
    np.testing.assert_array_equal(snapshots.calibration, validation)
    np.testing.assert_array_equal(snapshots.early_stopping, validation)
    assert not held & set(snapshots.customer[snapshots.split == "train"])
    assert held & set(snapshots.customer[snapshots.split == "test"])
    assert snapshots.cutoff_dates()["val"] == EXPLICIT["train"]
    again = snapshots_of(store, horizon_days=20, val_customers=0.25, seed=3, **lists)
    other = snapshots_of(store, horizon_days=20, val_customers=0.25, seed=4, **lists)
    assert rows(again) == rows(snapshots) != rows(other)
    assert again.fingerprint(store) == snapshots.fingerprint(store) != other.fingerprint(store)


def test_censored_is_kept_and_never_zero(store: EventStore) -> None:
    snapshots = snapshots_of(store, horizon_days=20, **{**EXPLICIT, "test": dates(150, 190)})
    late = snapshots.cutoff == 190 * DAY
    assert late.any()
    assert np.isnan(snapshots.label[late]).all()
    assert not np.isnan(snapshots.label[~late]).any()


def test_events_after_the_cutoff_change_no_input(store: EventStore, tmp_path: Path) -> None:
    logs = random_logs(0)
    rng = np.random.default_rng(1)
    changed = [[t for t in log if t < 150] + sorted((150 + rng.random(2) * 50).tolist()) for log in logs]
    other = make_store(tmp_path / "s", changed, 200)
    parts = []
    for source in (store, other):
        snapshots = snapshots_of(source, horizon_days=20, active_days=60, **EXPLICIT)
        test = snapshots.select(snapshots.split == "test")
        parts.append([test.customer, test.stop - test.start, test.recent])
    for left, right in zip(*parts, strict=True):
        np.testing.assert_array_equal(left, right)


def test_scoring_takes_everyone_seen_before(store: EventStore) -> None:
    snapshots, in_population = scoring_snapshots(store, 50 * DAY, rule(horizon_days=20, active_days=10))
    firsts = store.time[store.offsets[:-1]]
    assert snapshots.customer.tolist() == np.flatnonzero(firsts < 50 * DAY).tolist()
    last = store.time[snapshots.stop - 1]
    np.testing.assert_array_equal(in_population, last >= 40 * DAY)
    assert np.isnan(snapshots.label).all()
    assert set(snapshots.split) == {"predict"}
    with pytest.raises(ValueError, match="no customer has an event before"):
        scoring_snapshots(store, -DAY, rule(horizon_days=20))


def test_given_labels_become_snapshots_and_the_rest_is_counted(store: EventStore, tmp_path: Path) -> None:
    seen = [f"c{i}" for i in range(20)]
    frame = pd.DataFrame(
        [(name, day, (number + day) % 2) for day in dates_of_given() for number, name in enumerate(seen)],
        columns=["customer", "time", "label"],
    )
    frame["time"] = dates(*frame["time"])
    strangers = pd.DataFrame(
        {"customer": ["nobody", "c1"], "time": [dates(60)[0], "1970-01-01T00:00:01"], "label": [1, 1]}
    )
    path = tmp_path / "labels.parquet"
    pd.concat([frame, strangers]).to_parquet(path)
    given_labels = {"name": "given", "path": str(path)}
    snapshots = snapshots_of(store, horizon_days=20, labels=given_labels)
    assert snapshots.counts["given_rows"] == 142
    assert snapshots.counts["unknown_customer"] == 1
    unusable = sum(
        snapshots.counts[name]
        for name in ("unknown_customer", "unparseable_time", "repeated", "without_history", "outside_splits")
    )
    assert len(snapshots) + unusable == 142
    lookup = {(name, when): label for name, when, label in frame.itertuples(index=False)}
    for customer, cutoff, label in zip(snapshots.customer, snapshots.cutoff, snapshots.label, strict=True):
        assert lookup[store.customer_ids[customer], UTC.iso(cutoff)] == label
    assert snapshots.cutoff_dates()["test"] == dates(170, 180)  # the newest within one window
    listed = snapshots_of(store, horizon_days=20, labels=given_labels, train=dates(60), val=dates(100), test=dates(140))
    assert listed.cutoff_dates() == {"train": dates(60), "val": dates(100), "test": dates(140)}


def given_file(path: Path, label: Callable[[int, int], int | None]) -> dict[str, str]:
    """Labels of 20 customers at the dates of `dates_of_given`: `label` of the customer's number and of the day."""
    table = [(f"c{number}", dates(day)[0], label(number, day)) for day in dates_of_given() for number in range(20)]
    pd.DataFrame(table, columns=["customer", "time", "label"]).to_csv(path, index=False)
    return {"name": "given", "path": str(path)}


def test_splits_of_given_labels_keep_gap_and_horizon_apart_and_fold_back(store: EventStore, tmp_path: Path) -> None:
    labels = given_file(tmp_path / "labels.csv", lambda number, day: (number + day) % 2)
    newest = snapshots_of(store, horizon_days=20, labels=labels, folds=2)
    back = snapshots_of(store, horizon_days=20, labels=labels, folds=2, fold=1)
    apart = snapshots_of(store, horizon_days=20, gap_days=15, labels=labels)
    # test in (160, 180], val by 150, train by 120; folded back all by 160; 35 days apart: test in (145, 180], val by
    # 135
    assert newest.cutoff_dates() == {"train": dates(60, 80, 100, 120), "val": dates(140), "test": dates(170, 180)}
    assert back.cutoff_dates() == {"train": dates(60, 80, 100), "val": dates(120), "test": dates(140)}
    assert apart.cutoff_dates() == {"train": dates(60), "val": dates(100, 120), "test": dates(170, 180)}


def test_a_given_label_that_is_empty_neither_trains_nor_validates(store: EventStore, tmp_path: Path) -> None:
    labels = given_file(tmp_path / "labels.csv", lambda number, day: None if number % 3 == 0 else number % 2)
    snapshots = snapshots_of(
        store, horizon_days=20, labels=labels, train=dates(60), val=dates(100, 120), test=dates(170)
    )
    unknown = np.isnan(snapshots.label)
    for split in SPLITS:
        assert unknown[snapshots.split == split].any()
        assert not unknown[snapshots.split == split].all()
    np.testing.assert_array_equal(snapshots.training, (snapshots.split == "train") & ~unknown)
    np.testing.assert_array_equal(snapshots.early_stopping, (snapshots.cutoff == 100 * DAY) & ~unknown)
    np.testing.assert_array_equal(snapshots.calibration, (snapshots.cutoff == 120 * DAY) & ~unknown)


def dates_of_given() -> list[int]:
    return [60, 80, 100, 120, 140, 170, 180]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon_days": 0}, "horizon_days must be > 0 days, got 0"),
        ({"horizon_days": float("nan")}, "horizon_days must be a finite number"),
        ({"gap_days": -1}, "gap_days must be ≥ 0"),
        ({"active_days": 0}, "active_days must be > 0"),
        ({"val_customers": 1.0}, "val_customers is a share"),
        ({"folds": 2, "fold": 2}, "fold must be from 0"),
        ({"test": ["2030-01-01"]}, "2030-01-01 is outside the data"),
        ({"train": ["1969-01-01"]}, "1969-01-01 is outside the data"),
        ({"test": ["soon"]}, "ISO date such as 2017-12-01, got 'soon'"),
        ({"test": [150]}, "ISO date such as 2017-12-01, got 150"),
        ({"test": []}, "test has no dates"),
        ({"test": "newest"}, "must be auto or a list"),
        ({"test": dates(125)}, "splits overlap: the label window of the last val cutoff"),
        ({"train": dates(81)}, "splits overlap: the label window of the last train cutoff"),
        ({"train": dates(80 + MICROSECOND)}, "splits overlap: the label window of the last train cutoff"),
        ({"val": dates(130 + MICROSECOND)}, "splits overlap: the label window of the last val cutoff"),
        ({"val_customers": 0.3, "train": dates(131)}, "splits overlap"),
        ({"test": dates(190)}, "no test snapshot matured"),
        ({"active_days": 0.001}, "no customer is in the population"),
        ({"horizon_days": 300, "test": "auto"}, "no snapshot matured"),
        (
            {"horizon_days": 80, "test": "auto", "val": "auto", "train": "auto"},
            "no val cutoff fits|no train cutoff fits",
        ),
    ],
)
def test_bad_input_is_one_sentence(store: EventStore, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        snapshots_of(store, **{"horizon_days": 20, **EXPLICIT, **changes})
    assert "\n" not in str(raised.value)


def test_one_class_only(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [[day + 0.5 for day in range(200)]] * 3, 200)
    with pytest.raises(ValueError, match="one class only in train: all 6 labels are 0"):
        check_classes(snapshots_of(store, horizon_days=20, **EXPLICIT))


def test_dates_are_utc_midnights_unless_they_say_otherwise() -> None:
    assert UTC.parse("1970-01-02") == DAY
    assert UTC.parse("1970-01-02T06:00") == DAY + DAY // 4
    assert UTC.parse("1970-01-02T06:00+06:00") == DAY
    assert UTC.parse(pd.Timestamp("1970-01-02", tz="UTC")) == DAY


def test_label_share_leaves_training_customers_out_and_nothing_else(store: EventStore) -> None:
    everyone = snapshots_of(store, horizon_days=20, **EXPLICIT)
    few, more = (snapshots_of(store, horizon_days=20, label_share=share, **EXPLICIT) for share in (0.2, 0.5))
    for split in ("val", "test"):
        assert rows(few.select(few.split == split)) == rows(everyone.select(everyone.split == split))
    known = [set(found.customer[found.split == "train"].tolist()) for found in (few, more, everyone)]
    assert known[0] < known[1] < known[2]
    assert len(known[1]) <= 30
    train = everyone.select(everyone.split == "train")
    assert rows(few.select(few.split == "train")) == rows(train.select(np.isin(train.customer, sorted(known[0]))))
    other = snapshots_of(store, horizon_days=20, label_share=0.2, label_seed=1, **EXPLICIT)
    assert set(other.customer[other.split == "train"].tolist()) != known[0]
    assert everyone.fingerprint(store) == snapshots_of(
        store, horizon_days=20, label_share=1.0, label_seed=9, **EXPLICIT
    ).fingerprint(store)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_label_share_that_is_none_is_refused(store: EventStore, share: float) -> None:
    with pytest.raises(ValueError, match=r"label_share must be above 0 and at most 1"):
        snapshots_of(store, horizon_days=20, label_share=share, **EXPLICIT)
