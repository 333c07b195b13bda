"""Labels against plain Python, on random small logs and by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.labels import build_labeller
from clm_dl.data.store.files import write_store
from clm_dl.data.store.history import count_before
from clm_dl.data.store.store import MISSING_TIME, EventStore, Field

KINDS = {"event_type": "categorical", "expiry": "time", "churn_event": "numeric"}


def make_store(
    path: Path, logs: list[list[int]], *, end: int, dictionaries: dict | None = None, **columns: list
) -> EventStore:
    """A store of customers 0, 1, … with events at the given days; `columns` are flat, one value an event."""
    offsets = np.concatenate([[0], np.cumsum([len(log) for log in logs])])
    return write_store(
        path,
        customer_ids=np.arange(len(logs)),
        offsets=offsets,
        time=np.array([day * DAY for log in logs for day in log], dtype=np.int64),
        columns=columns,
        fields=[Field(name, KINDS[name], name) for name in columns],
        dictionaries=dictionaries or {},
        end=end * DAY,
        fingerprint="test",
    )


def label(
    store: EventStore, customer: int, cutoff: float, *, horizon: float, gap: float = 0, **labels
) -> tuple[float, bool]:
    labeller = build_labeller(store, {"name": "no_event", **labels}, horizon=round(horizon * DAY), gap=round(gap * DAY))
    who, when = np.array([customer]), np.array([round(cutoff * DAY)])
    stop = store.offsets[who] + count_before(store.offsets, store.time, who, when)
    value, population = labeller(who, when, stop)
    return float(value[0]), bool(population[0])


logs_of_days = st.lists(st.lists(st.integers(0, 30), max_size=6).map(sorted), min_size=1, max_size=5).filter(any)


@settings(max_examples=60, deadline=None)
@given(
    logs=logs_of_days,
    cutoff=st.integers(1, 30),
    gap=st.integers(0, 5),
    horizon=st.integers(1, 10),
    types=st.sampled_from([None, ["buy"]]),
)
@example(logs=[[5, 11]], cutoff=11, gap=0, horizon=5, types=None)  # an event at the cutoff
@example(logs=[[5, 11]], cutoff=11, gap=0, horizon=5, types=["buy"])
@example(logs=[[5, 11]], cutoff=11, gap=1, horizon=5, types=None)  # the same, but the gap leaves it out
@example(logs=[[5, 13]], cutoff=11, gap=2, horizon=5, types=None)  # where the window begins
@example(logs=[[5, 13]], cutoff=11, gap=2, horizon=5, types=["buy"])
@example(logs=[[5, 16]], cutoff=11, gap=0, horizon=5, types=None)  # where it ends
@example(logs=[[5, 17]], cutoff=11, gap=1, horizon=5, types=["buy"])
@example(logs=[[5]], cutoff=21, gap=2, horizon=8, types=None)  # the data ends with the window
@example(logs=[[5, 22]], cutoff=22, gap=2, horizon=8, types=None)  # and a day too early
def test_no_event_equals_plain_python(tmp_path_factory, logs, cutoff, gap, horizon, types) -> None:
    codes = [day % 2 for log in logs for day in log]  # even days view, odd days buy
    store = make_store(
        tmp_path_factory.mktemp("s") / "s",
        logs,
        end=31,
        event_type=codes,
        dictionaries={"event_type": np.array(["view", "buy"])},
    )
    for customer, log in enumerate(logs):
        if not any(day < cutoff for day in log):
            continue
        found, population = label(store, customer, cutoff, horizon=horizon, gap=gap, event_types=types)
        inside = [day for day in log if cutoff + gap <= day < cutoff + gap + horizon and (types is None or day % 2)]
        expected = np.nan if cutoff + gap + horizon > 31 else float(not inside)
        np.testing.assert_equal(found, expected)
        assert population


def test_windows_are_half_open(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [[0, 20]], end=40)
    assert label(store, 0, 10, horizon=10)[0] == 1  # the event at the end of the window is outside
    assert label(store, 0, 10, horizon=10.1)[0] == 0
    assert label(store, 0, 15, horizon=5, gap=5)[0] == 0  # the event at its start is inside
    assert label(store, 0, 20, horizon=20)[0] == 0  # an event at the cutoff is not history but label
    assert np.isnan(
        label(store, 0, 20, horizon=20.1)[0]
    )  # the window ends after the data: censored, although there is an event


def test_shuffling_the_future_within_the_window_changes_no_label_and_removing_the_past_changes_none(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    past = [sorted(rng.integers(0, 50, 5).tolist()) for _ in range(20)]
    future = [sorted(rng.integers(50, 100, rng.integers(0, 3)).tolist()) for _ in range(20)]
    permuted = [past[i] for i in rng.permutation(20)]
    one = make_store(tmp_path / "a", [p + f for p, f in zip(past, future, strict=True)], end=100)
    two = make_store(tmp_path / "b", [p + f for p, f in zip(permuted, future, strict=True)], end=100)
    labels = [[label(store, c, 50, horizon=20)[0] for c in range(20)] for store in (one, two)]
    assert labels[0] == labels[1]
    assert set(labels[0]) == {0.0, 1.0}


def contract_reference(
    log: list[tuple[int, int]], cutoff: int, gap: int, horizon: int, grace: int, end: int
) -> tuple[float, bool]:
    current = None
    for time, expiry in log:
        if time < cutoff and expiry >= 0:
            current = expiry
    if current is None or not cutoff + gap <= current < cutoff + gap + horizon:
        return np.nan, False
    renewed = any(cutoff <= time < current + grace and expiry > current for time, expiry in log)
    return (np.nan if current + grace > end else float(not renewed)), True


@settings(max_examples=150, deadline=None)
@given(
    logs=st.lists(
        st.lists(st.tuples(st.integers(0, 30), st.integers(-10, 45)), min_size=1, max_size=6).map(
            lambda log: sorted(log)
        ),
        min_size=1,
        max_size=4,
    ),
    cutoff=st.integers(1, 30),
    gap=st.integers(0, 3),
    horizon=st.integers(1, 20),
    grace=st.integers(0, 10),
)
@example(logs=[[(5, 12)]], cutoff=10, gap=2, horizon=5, grace=3)  # it expires where the window begins
@example(logs=[[(5, 11)]], cutoff=10, gap=2, horizon=5, grace=3)
@example(logs=[[(5, 17)]], cutoff=10, gap=2, horizon=5, grace=3)  # where it ends
@example(logs=[[(5, 12), (10, 30)]], cutoff=10, gap=0, horizon=5, grace=3)  # renewed at the cutoff
@example(logs=[[(5, 12), (14, 30)]], cutoff=10, gap=0, horizon=5, grace=3)  # on the last day of grace
@example(logs=[[(5, 12), (15, 30)]], cutoff=10, gap=0, horizon=5, grace=3)  # a day later
@example(logs=[[(5, 12), (11, 12)]], cutoff=10, gap=0, horizon=5, grace=3)  # told the same expiry again
@example(logs=[[(5, 35)]], cutoff=30, gap=0, horizon=10, grace=5)  # the data ends with the grace
@example(logs=[[(5, 35)]], cutoff=30, gap=0, horizon=10, grace=6)  # and a day too early
def test_contractual_equals_plain_python(tmp_path_factory, logs, cutoff, gap, horizon, grace) -> None:
    expiry = [MISSING_TIME if day < 0 else day * DAY for log in logs for _, day in log]
    store = make_store(
        tmp_path_factory.mktemp("s") / "s", [[time for time, _ in log] for log in logs], end=40, expiry=expiry
    )
    who = np.array([c for c, log in enumerate(logs) if log[0][0] < cutoff], dtype=np.int64)
    labeller = build_labeller(
        store, {"name": "contractual", "grace_days": grace}, horizon=horizon * DAY, gap=gap * DAY
    )  # all customers at once: ranges of several customers meet in one reduction
    when = np.full(len(who), cutoff * DAY)
    found, population = labeller(who, when, store.offsets[who] + count_before(store.offsets, store.time, who, when))
    for row, customer in enumerate(who):
        expected, eligible = contract_reference(logs[customer], cutoff, gap, horizon, grace, 40)
        assert population[row] == eligible
        if eligible:
            np.testing.assert_equal(found[row], expected)


flagged_days = st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=6).map(sorted)


@settings(max_examples=80, deadline=None)
@given(
    logs=st.lists(flagged_days, min_size=1, max_size=4),
    cutoff=st.integers(1, 30),
    gap=st.integers(0, 4),
    horizon=st.integers(1, 10),
)
@example(logs=[[(5, False), (10, True)]], cutoff=10, gap=0, horizon=5)  # leaves at the cutoff
@example(logs=[[(5, False), (10, True)]], cutoff=10, gap=1, horizon=5)  # the same, but the gap leaves it out
@example(logs=[[(5, False), (12, True)]], cutoff=10, gap=2, horizon=5)  # where the window begins
@example(logs=[[(5, False), (17, True)]], cutoff=10, gap=2, horizon=5)  # where it ends
@example(logs=[[(5, False), (5, True)]], cutoff=10, gap=0, horizon=5)  # not seen after the moment of leaving
@example(logs=[[(5, True), (6, False)]], cutoff=10, gap=0, horizon=5)  # seen a day later
@example(logs=[[(5, False), (22, True)]], cutoff=21, gap=0, horizon=10)  # the data ends with the window
@example(logs=[[(5, False), (23, True)]], cutoff=22, gap=0, horizon=10)  # and a day too early
def test_churn_event_equals_plain_python(tmp_path_factory, logs, cutoff, gap, horizon) -> None:
    days, flags = [[day for day, _ in log] for log in logs], [float(gone) for log in logs for _, gone in log]
    store = make_store(tmp_path_factory.mktemp("s") / "s", days, end=31, churn_event=flags)
    for customer, log in enumerate(logs):
        history = [(day, gone) for day, gone in log if day < cutoff]
        if not history:
            continue
        found, population = label(store, customer, cutoff, horizon=horizon, gap=gap, name="churn_event")
        left = max((day for day, gone in history if gone), default=-1)
        assert population == (history[-1][0] > left)
        leaves = any(gone and cutoff + gap <= day < cutoff + gap + horizon for day, gone in log)
        np.testing.assert_equal(found, np.nan if cutoff + gap + horizon > 31 else float(leaves))


def test_churn_event_flags_the_window_and_drops_those_already_gone(tmp_path: Path) -> None:
    logs = [[0, 5, 12], [0, 5], [0, 5, 8], [0]]
    flags = [0, 0, 1, 0, 1, 0, 1, 0, np.nan]
    store = make_store(tmp_path / "s", logs, end=40, churn_event=flags)
    found = [label(store, customer, 10, horizon=10, name="churn_event") for customer in range(4)]
    assert found[0] == (1.0, True)  # leaves on day 12
    assert found[1][1] is False  # left on day 5, nothing since
    assert found[2] == (0.0, True)  # left on day 5, came back on day 8
    assert found[3] == (0.0, True)
    assert label(store, 0, 10, horizon=2, name="churn_event")[0] == 0.0  # day 12 is the end of the window
    assert np.isnan(label(store, 0, 10, horizon=31, name="churn_event")[0])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"event_types": ["buy"]}, "no data.roles.event_type"),
        ({"name": "contractual"}, "no data.roles.expiry"),
        ({"name": "churn_event"}, "no data.roles.churn_event"),
        ({"name": "guess"}, "labels.name must be one of"),
    ],
)
def test_labels_that_the_log_cannot_give(tmp_path: Path, labels: dict, message: str) -> None:
    store = make_store(tmp_path / "s", [[0, 5]], end=10)
    with pytest.raises(ValueError, match=message):
        label(store, 0, 3, horizon=2, **labels)


def test_unknown_event_type_is_named(tmp_path: Path) -> None:
    store = make_store(
        tmp_path / "s", [[0, 5]], end=10, event_type=[0, 1], dictionaries={"event_type": np.array(["view", "buy"])}
    )
    with pytest.raises(ValueError, match="no event with event_type 'sell' in the log, it has buy, view"):
        label(store, 0, 3, horizon=2, event_types=["sell"])


@settings(max_examples=80, deadline=None)
@given(
    logs=logs_of_days,
    cutoff=st.integers(1, 30),
    gap=st.integers(0, 4),
    horizon=st.integers(1, 10),
    chosen=st.booleans(),
    first=st.booleans(),
    dormant=st.sampled_from([None, 4]),
)
@example(logs=[[4, 11]], cutoff=11, gap=0, horizon=5, chosen=True, first=True, dormant=None)  # bought at the cutoff
@example(logs=[[4, 11]], cutoff=11, gap=1, horizon=5, chosen=True, first=False, dormant=None)  # in the gap
@example(logs=[[4, 14]], cutoff=11, gap=3, horizon=5, chosen=True, first=False, dormant=None)  # where the window begins
@example(logs=[[4, 17]], cutoff=11, gap=1, horizon=5, chosen=True, first=False, dormant=None)  # where it ends
@example(logs=[[4, 23]], cutoff=21, gap=0, horizon=10, chosen=True, first=False, dormant=None)  # ends with the data
@example(logs=[[4, 23]], cutoff=22, gap=0, horizon=10, chosen=True, first=False, dormant=None)  # and a day too early
@example(logs=[[7]], cutoff=11, gap=0, horizon=5, chosen=False, first=False, dormant=4)  # seen as they begin
@example(logs=[[6]], cutoff=11, gap=0, horizon=5, chosen=False, first=False, dormant=4)  # and a day before
def test_a_chosen_event_equals_plain_python(
    tmp_path_factory, logs, cutoff, gap, horizon, chosen, first, dormant
) -> None:
    codes = [day % 3 - 1 for log in logs for day in log]  # every third is missing, the next ones view, then buy
    dictionaries = {"event_type": np.array(["view", "buy"])}
    store = make_store(tmp_path_factory.mktemp("s") / "s", logs, end=31, event_type=codes, dictionaries=dictionaries)
    options = {"field": "event_type", "values": ["buy"], "first": first} if chosen else {}
    for customer, log in enumerate(logs):
        if not any(day < cutoff for day in log):
            continue
        found, population = label(
            store, customer, cutoff, horizon=horizon, gap=gap, name="event", dormant_days=dormant, **options
        )
        bought = [day for day in log if not chosen or day % 3 == 2]
        happened = any(cutoff + gap <= day < cutoff + gap + horizon for day in bought)
        np.testing.assert_equal(found, np.nan if cutoff + gap + horizon > 31 else float(happened))
        never = not any(day < cutoff for day in bought)
        asleep = dormant is None or not any(cutoff - dormant <= day < cutoff for day in log)
        assert population == ((never or not (chosen and first)) and asleep)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "event_type"}, "belong together"),
        ({"values": ["buy"]}, "belong together"),
        ({"first": True}, "labels.first=true needs the event"),
        ({"dormant_days": 0}, "dormant_days must be > 0"),
        (
            {"field": "event_type", "values": ["sell"]},
            "labels.values: no event with event_type 'sell' in the log, it has buy, view",
        ),
        (
            {"field": "colour", "values": ["red"]},
            "needs the categorical field 'colour'; its categorical fields are event_type",
        ),
    ],
)
def test_a_chosen_event_that_cannot_be(tmp_path: Path, options: dict, message: str) -> None:
    store = make_store(
        tmp_path / "s", [[0, 5]], end=10, event_type=[0, 1], dictionaries={"event_type": np.array(["view", "buy"])}
    )
    with pytest.raises(ValueError, match=message):
        label(store, 0, 3, horizon=2, name="event", **options)
