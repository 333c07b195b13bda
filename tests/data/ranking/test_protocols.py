"""Protocols: golden splits of a small log, who is left out, ties in time, the guard, the fingerprint, and leakage by
permutation.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support import rule

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.ranking.protocols import build_ranking
from clm_dl.data.zone import UTC

LEAVE_ONE_OUT = {"name": "leave_one_out"}
GLOBAL = {"name": "global_time", "val": "2020-01-11", "test": "2020-01-21"}
ROLLING = {"horizon_days": 5, "every_days": 5, "val": ["2020-01-11"], "test": ["2020-01-16", "2020-01-21"]}
# customer: (day of January 2020, items bought together)
ORDERS = {
    "ann": [(1, "ab"), (5, "c"), (12, "da"), (14, "e"), (22, "bf"), (24, "g")],
    "bob": [(2, "a"), (13, "a")],
    "cid": [(15, "b"), (17, "c"), (23, "bb")],
    "dee": [(3, "-"), (4, "h")],
}


def log_of(orders=ORDERS) -> pd.DataFrame:
    rows = [
        (name, pd.Timestamp(2020, 1, day), item)
        for name, bought in orders.items()
        for day, items in bought
        for item in items
    ]
    frame = pd.DataFrame(rows, columns=["cust", "ts", "item"])
    return frame.assign(item=frame["item"].replace("-", None))


@pytest.fixture(scope="module")
def store(store_of):
    return store_of(log_of(), end="2020-01-26")


def spell(ranking, split):
    """{customer@cutoff: (items of the history, target items)} of one split, read off the store; "-" is a line without
    an item.
    """
    store, snapshots = ranking.store, ranking.snapshots
    names, item = np.append(store.dictionary("item"), "-"), store.column("item")
    found = {}
    for n in ranking.select(split):
        history = "".join(names[item[snapshots.start[n] : snapshots.stop[n]]])
        targets = "".join(names[ranking.targets[ranking.target_offsets[n] : ranking.target_offsets[n + 1]]])
        found[f"{store.customer_ids[snapshots.customer[n]]} {UTC.iso(snapshots.cutoff[n])[8:]}"] = (history, targets)
    return found


def test_what_lies_behind_a_given_end_is_no_target(store_of):
    log = log_of()
    stray = log.iloc[[-1]].assign(ts=pd.Timestamp("2099-12-31"))
    store, whole = store_of(pd.concat([log, stray]), end="2020-01-26"), store_of(log, end="2020-01-26")
    assert store.known_until == whole.known_until
    for name, unit in (("leave_one_out", "line"), ("leave_one_out", "order"), ("global_time", "line")):
        protocol = {"name": name} | ({"val": "2020-01-12", "test": "2020-01-20"} if name == "global_time" else {})
        found, wanted = (build_ranking(one, protocol=protocol, unit=unit, rule=None) for one in (store, whole))
        for split in ("val", "test"):
            assert spell(found, split) == spell(wanted, split)
        assert found.snapshots.cutoff.max() < store.known_until


# --- golden splits


def test_leave_one_out_by_line(store):
    ranking = build_ranking(store, protocol=LEAVE_ONE_OUT, unit="line")
    assert spell(ranking, "train") == {
        "dee 04": ("-h", ""),
        "bob 13": ("aa", ""),
        "cid 17": ("bc", ""),
        "ann 22": ("abcdaeb", ""),
    }
    assert spell(ranking, "val") == {"ann 22": ("abcdaeb", "f"), "cid 23": ("bc", "b")}
    assert spell(ranking, "test") == {"ann 24": ("abcdaebf", "g"), "cid 23": ("bcb", "b")}
    assert ranking.positional
    counts = {
        "few_events": 2,
        "no_history": 0,
        "no_target": 0,
        "val_targets": 2,
        "val_repeats": 1,
        "val_new": 1,
        "val_cold": 1,
    }
    assert ranking.counts == counts | {"test_targets": 2, "test_repeats": 1, "test_new": 1, "test_cold": 1}


def test_leave_one_out_by_order(store):
    ranking = build_ranking(store, protocol=LEAVE_ONE_OUT, unit="order")
    assert spell(ranking, "val") == {"cid 17": ("b", "c"), "ann 22": ("abcdae", "bf")}
    assert spell(ranking, "test") == {"cid 23": ("bc", "b"), "ann 24": ("abcdaebf", "g")}
    assert spell(ranking, "train")["ann 14"] == ("abcdae", "")
    assert ranking.counts["few_events"] == 2  # dee's order without an item is none


def test_more_events_wanted(store):
    ranking = build_ranking(store, protocol=LEAVE_ONE_OUT | {"min_events": 5}, unit="line")
    assert list(spell(ranking, "test")) == ["ann 24"]
    assert spell(ranking, "train")["cid 23"] == ("bcbb", "")
    assert ranking.counts["few_events"] == 3


@pytest.mark.parametrize(
    ("target", "unit", "val", "test", "no_history", "no_target"),
    [
        (
            "all",
            "line",
            {"ann 11": ("abc", "dae"), "bob 11": ("a", "a")},
            {"ann 21": ("abcdae", "bfg"), "cid 21": ("bc", "b")},
            1,
            3,
        ),
        (
            "first",
            "order",
            {"ann 11": ("abc", "da"), "bob 11": ("a", "a")},
            {"ann 21": ("abcdae", "bf"), "cid 21": ("bc", "b")},
            1,
            3,
        ),
        (
            "first",
            "line",
            {"ann 11": ("abc", "d"), "bob 11": ("a", "a")},
            {"ann 21": ("abcdae", "b"), "cid 21": ("bc", "b")},
            1,
            3,
        ),
        (
            "last",
            "order",
            {"bob 13": ("a", "a"), "ann 14": ("abcda", "e"), "cid 17": ("b", "c")},
            {"cid 23": ("bc", "b"), "ann 24": ("abcdaebf", "g")},
            0,
            3,
        ),
        (
            "last",
            "line",
            {"bob 13": ("a", "a"), "ann 14": ("abcda", "e"), "cid 17": ("b", "c")},
            {"cid 23": ("bcb", "b"), "ann 24": ("abcdaebf", "g")},
            0,
            3,
        ),
    ],
)
def test_global_time(store, target, unit, val, test, no_history, no_target):
    ranking = build_ranking(store, protocol=GLOBAL | {"target": target}, unit=unit)
    assert spell(ranking, "train") == {"ann 11": ("abc", ""), "bob 11": ("a", ""), "dee 11": ("-h", "")}
    assert spell(ranking, "val") == val
    assert spell(ranking, "test") == test
    assert (ranking.counts["no_history"], ranking.counts["no_target"]) == (no_history, no_target)
    assert ranking.positional == (target == "last")


def test_quantiles_choose_the_dates(store):
    ranking = build_ranking(store, protocol={"name": "global_time", "quantiles": [0.5, 0.75]}, unit="line")
    time = np.sort(store.time)
    val, test = time[int(np.ceil(0.5 * (len(time) - 1)))], time[int(np.ceil(0.75 * (len(time) - 1)))]
    assert set(ranking.snapshots.cutoff[ranking.select("val")]) == {val}
    assert set(ranking.snapshots.cutoff[ranking.select("test")]) == {test}
    assert np.array_equal(ranking.training_rows, np.asarray(store.time) < val)


def test_the_last_event_of_the_data_is_in_the_test_window(store_of):
    """`end` is the time of the last event where times are no midnights."""
    store = store_of(log_of(), end="2020-01-24")
    assert spell(build_ranking(store, protocol=GLOBAL, unit="line"), "test")["ann 21"] == ("abcdae", "bfg")


def test_rolling(store):
    ranking = rolling(store, ROLLING)
    assert spell(ranking, "train") == {"ann 11": ("abc", ""), "bob 11": ("a", ""), "dee 11": ("-h", "")}
    assert spell(ranking, "val") == {"ann 11": ("abc", "dae"), "bob 11": ("a", "a")}
    assert spell(ranking, "test") == {"cid 16": ("b", "c"), "ann 21": ("abcdae", "bfg"), "cid 21": ("bc", "b")}
    counts = ranking.counts
    assert (counts["no_history"], counts["inactive"], counts["no_target"]) == (
        1,
        0,
        6,
    )  # cid at 11; dee thrice, bob twice, ann at 16
    assert (counts["test_repeats"], counts["test_new"], counts["test_cold"]) == (
        2,
        3,
        2,
    )  # b, b; c, f, g; never trained: f, g
    assert (ranking.snapshots.horizon_days, ranking.positional) == (5.0, False)


def test_rolling_population_and_gap(store):
    asked = ROLLING | {"active_days": 8, "gap_days": 1, "horizon_days": 4, "recent_days": 7}
    ranking = rolling(store, asked)
    assert spell(ranking, "val") == {"ann 11": ("abc", "dae")}
    assert spell(ranking, "test") == {"cid 16": ("b", "c"), "ann 21": ("abcdae", "bfg"), "cid 21": ("bc", "b")}
    counts = ranking.counts
    assert (counts["no_history"], counts["inactive"], counts["no_target"]) == (
        1,
        3,
        4,
    )  # inactive: bob at 11, dee at 16 and 21
    assert recently(ranking) == {"ann 11": True, "cid 16": True, "ann 21": True, "cid 21": True}  # ann: on 14
    shorter = rolling(store, asked | {"active_days": 7, "recent_days": 6})
    assert recently(shorter) == {"ann 11": True, "cid 16": True, "ann 21": False, "cid 21": True}


def rolling(store, asked, unit="order"):
    return build_ranking(store, protocol={"name": "rolling"}, unit=unit, rule=rule(**asked))


def recently(ranking):
    """{customer@cutoff: whether it was active in the recent days} of validation and test."""
    snapshots = ranking.snapshots.select(ranking.snapshots.split != "train")
    names, recent = ranking.store.customer_ids[snapshots.customer], snapshots.recent.tolist()
    return {f"{name} {UTC.iso(at)[8:]}": flag for name, at, flag in zip(names, snapshots.cutoff, recent, strict=True)}


def test_rolling_windows_begin_after_the_gap_and_end_before_the_horizon(store):
    ranking = rolling(store, ROLLING | {"gap_days": 2, "horizon_days": 3})
    assert spell(ranking, "val") == {"ann 11": ("abc", "e"), "bob 11": ("a", "a")}  # ann: on 12 and 14, bob: on 13
    assert spell(ranking, "test") == {"ann 21": ("abcdae", "g"), "cid 21": ("bc", "b")}  # cid: on 17 and 23


def test_rolling_edges_by_the_day(store_of):
    """What happens at cutoff + gap is a target, at cutoff + gap + horizon not any more; active and recent on the day of
    the limit.
    """
    early, late = (
        [(6, "a"), (11, "b"), (12, "c"), (13, "d"), (17, "e"), (18, "f")],
        [(19, "a"), (21, "b"), (25, "c"), (26, "d")],
    )
    bought = {"ann": [*early, *late], "bob": [(5, "a"), (13, "g")], "cid": [(9, "a"), (14, "b")]}
    store = store_of(log_of(bought), end="2020-02-01")
    days = {"horizon_days": 5, "gap_days": 2, "active_days": 5, "recent_days": 2}
    ranking = rolling(store, {**days, "val": ["2020-01-11"], "test": ["2020-01-19"]}, unit="line")
    assert spell(ranking, "val") == {"ann 11": ("a", "de"), "cid 11": ("a", "b")}  # bob was last active six days before
    assert spell(ranking, "test") == {"ann 19": ("abcdef", "bc")}
    assert ranking.snapshots.recent[ranking.select("val")].tolist() == [False, True]


def test_auto_cutoffs_are_matured_and_do_not_overlap(small_store, store_of, small_log):
    store = store_of(small_log.rename(columns={"sku": "item"}))
    ranking = rolling(store, {"horizon_days": 20, "train": ["2031-01-01"]}, unit="line")
    val, test = (ranking.snapshots.cutoff[ranking.select(split)] for split in ("val", "test"))
    day = 86_400_000_000
    assert val.max() + 20 * day <= test.min()
    assert test.max() + 20 * day <= store.end
    assert np.array_equal(ranking.training_rows, np.asarray(store.time) < val.min())


# --- what holds for all


PROTOCOLS = {
    "leave_one_out": (LEAVE_ONE_OUT, None),
    "all": ({"name": "global_time"}, None),
    "first": ({"name": "global_time", "target": "first"}, None),
    "last": ({"name": "global_time", "target": "last"}, None),
    "rolling": ({"name": "rolling"}, rule(horizon_days=20, active_days=60)),
}


@pytest.fixture(scope="module")
def shop(store_of, small_log):
    return store_of(small_log.rename(columns={"sku": "item"}))


@pytest.fixture(params=[(name, unit) for name in PROTOCOLS for unit in ("line", "order")], ids="-".join)
def ranking(request, shop):
    protocol, windows = PROTOCOLS[request.param[0]]
    return build_ranking(shop, protocol=protocol, unit=request.param[1], rule=windows)


def test_targets_follow_histories_and_nothing_is_learnt_from_them(ranking):
    ranking.check()
    snapshots, rows = ranking.snapshots, ranking.training_rows
    assert len(ranking.select("val")) > 5
    assert len(ranking.select("test")) > 5
    assert (snapshots.stop > snapshots.start).all()
    assert not rows[ranking.target_rows].any()
    number = np.diff(ranking.target_offsets)
    assert (number[ranking.select("train")] == 0).all()
    assert (number[snapshots.split != "train"] > 0).all()
    assert np.array_equal(np.asarray(ranking.store.column("item"))[ranking.target_rows], ranking.targets)
    place = np.repeat(np.arange(len(snapshots)), number)
    assert len(np.unique(np.stack([place, ranking.targets]), axis=1).T) == len(ranking.targets)
    train = ranking.select("train")
    learnt = np.zeros(ranking.store.num_events, dtype=int)
    for n in train:
        learnt[snapshots.start[n] : snapshots.stop[n]] += 1
    assert np.array_equal(learnt, rows.astype(int))  # each training row in the one history of its customer
    for split in ("val", "test"):
        targets = ranking.counts[f"{split}_targets"]
        assert (
            targets
            == number[ranking.select(split)].sum()
            == ranking.counts[f"{split}_new"] + ranking.counts[f"{split}_repeats"]
        )


def test_sorted_by_split_cutoff_customer(ranking):
    snapshots = ranking.snapshots
    order = np.lexsort(
        (snapshots.customer, snapshots.cutoff, pd.Categorical(snapshots.split, ["train", "val", "test"]).codes)
    )
    assert np.array_equal(order, np.arange(len(snapshots)))


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (
            lambda r: {"snapshots": moved(r, "stop", "test", 1)},
            "leak: the test snapshot of customer c.* has its target in its history",
        ),
        (
            lambda r: {"snapshots": moved(r, "stop", "val", 1)},
            "leak: the val snapshot of customer c.* has its target in its history",
        ),
        (
            lambda r: {"snapshots": moved(r, "stop", "train", 1)},
            "leak: the train snapshot .* trains on events that are held out",
        ),
        (lambda r: {"snapshots": moved(r, "cutoff", "test", -(10**13))}, "has events after the cutoff in its history"),
        (lambda r: {"snapshots": moved(r, "cutoff", "test", 1)}, "has a target from before its cutoff"),
        (lambda r: {"snapshots": moved(r, "start", "val", -1)}, "history of another customer"),
        (
            lambda r: {
                "training_stop": r.training_stop + np.isin(np.arange(len(r.training_stop)), last_customer(r, "val"))
            },
            "training rows",
        ),
        (lambda r: {"targets": np.append(r.targets[1:], r.targets[:1])}, "has a target that is not its own event"),
        (
            lambda r: {"target_offsets": np.append(0, r.target_offsets[1:] + 1).clip(max=len(r.targets))},
            "training snapshot and has targets",
        ),
    ],
)
def test_guard_fires_on_a_planted_leak(shop, plant, message):
    ranking = build_ranking(shop, protocol=LEAVE_ONE_OUT, unit="line")
    with pytest.raises(ValueError, match=message):
        replace(ranking, **plant(ranking)).check()


def last_customer(ranking, split):
    return ranking.snapshots.customer[ranking.select(split)[-1]]


def moved(ranking, name, split, by):
    """The snapshots with one number of the last snapshot of a split moved."""
    value = getattr(ranking.snapshots, name).copy()
    value[ranking.select(split)[-1]] += by
    return replace(ranking.snapshots, **{name: value})


def test_fingerprint_sees_every_part_of_the_split(ranking):
    store = ranking.store
    snapshots = [moved(ranking, name, "test", by) for name, by in {"stop": 1, "cutoff": 1, "customer": -1}.items()]
    snapshots.append(
        replace(ranking.snapshots, split=np.where(ranking.snapshots.split == "val", "test", ranking.snapshots.split))
    )
    others = [replace(ranking, snapshots=changed) for changed in snapshots]
    others.append(replace(ranking, targets=(ranking.targets + 1) % len(store.dictionary("item"))))
    assert len({other.fingerprint(store) for other in [ranking, *others]}) == 6


def test_fingerprint_repeats(shop):
    assert len({build_ranking(shop, protocol=LEAVE_ONE_OUT, unit="line").fingerprint(shop) for _ in range(2)}) == 1


def test_ties_in_time_keep_the_order_of_the_file(tmp_path):
    """The same log in another order of its ties: other targets, and another fingerprint."""
    log = pd.DataFrame({"who": 1, "when": "2020-01-01", "what": [30, 10, 50, 20, 40]})
    found = []
    for place, frame in enumerate([log, log.iloc[::-1]]):
        data = {"frame": frame, "roles": {"customer": "who", "time": "when", "item": "what"}, "tie": "file"}
        ranking = build_ranking(prepare_store(data, tmp_path / str(place)), protocol=LEAVE_ONE_OUT, unit="line")
        ranking.check()
        found.append((ranking.store.dictionary("item")[ranking.targets].tolist(), ranking.fingerprint(ranking.store)))
    assert [items for items, _ in found] == [["20", "40"], ["10", "30"]]
    assert found[0][1] != found[1][1]
    with pytest.raises(ValueError, match="has events after the cutoff in its history"):
        replace(ranking, positional=False).check()  # only positions tell the history from a target of the same time


# --- leakage by permutation


@pytest.mark.parametrize("protocol", [GLOBAL, {"name": "rolling"}], ids=["global_time", "rolling"])
def test_what_follows_a_cutoff_moves_no_history(store, store_of, protocol):
    """Other items after the first validation cutoff: training rows and validation histories are the same, targets are
    not.
    """
    log = log_of()
    later = log["ts"] >= "2020-01-11"
    log.loc[later, "item"] = log.loc[later, "item"].to_numpy()[::-1]
    left, right = (
        build_ranking(s, protocol=protocol, unit="line", rule=rule(**ROLLING))
        for s in (store, store_of(log, end="2020-01-26"))
    )
    assert np.array_equal(left.training_rows, right.training_rows)
    assert {k: h for k, (h, _) in spell(left, "train").items()} == {k: h for k, (h, _) in spell(right, "train").items()}
    histories = [{key: history for key, (history, _) in spell(ranking, "val").items()} for ranking in (left, right)]
    assert histories[0] == histories[1]
    assert spell(left, "val") != spell(right, "val")


# --- bad input


@pytest.mark.parametrize(
    ("protocol", "unit", "message"),
    [
        ({"name": "leave_two_out"}, "line", "protocol.name must be one of .*did you mean 'leave_one_out'"),
        (
            {"name": "leave_one_out", "min_event": 4},
            "line",
            "unknown key of protocol leave_one_out 'min_event' .did you mean 'min_events'",
        ),
        ({"name": "leave_one_out", "min_events": 2}, "line", "min_events must be at least 3"),
        (
            {"name": "leave_one_out", "min_events": 99},
            "line",
            "no customer has a history and a target in val .few_events: 4",
        ),
        (LEAVE_ONE_OUT, "basket", "unit of a protocol must be one of line, order"),
        (GLOBAL | {"target": "any"}, "line", "protocol.target must be one of all, first, last"),
        (GLOBAL | {"val": "soon"}, "line", "must be an ISO date"),
        (GLOBAL | {"test": "2020-01-02"}, "line", "must ascend"),
        (GLOBAL | {"test": "2021-01-02"}, "line", "must ascend"),
        ({"name": "global_time", "quantiles": [0.9, 0.8]}, "line", "two ascending shares"),
        ({"name": "global_time", "quantiles": 0.8}, "line", "two ascending shares .*, got 0.8"),
        ({"name": "global_time", "quantiles": ["a", "b"]}, "line", "two ascending shares"),
        ({"name": "leave_one_out", "min_events": 3.5}, "line", "must be at least 3, an integer .*, got 3.5"),
        ({"name": "rolling"}, "line", "give snapshots.horizon_days"),
    ],
)
def test_bad_protocols(store, protocol, unit, message):
    with pytest.raises(ValueError, match=message):
        build_ranking(store, protocol=protocol, unit=unit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_customers": 0.1}, "set it to 0"),
        ({"horizon_days": -1}, "horizon_days must be > 0"),
        (
            {"test": ["2020-01-16", "2020-01-23"]},
            "the window of the test cutoff 2020-01-23 ends 2020-01-28, after the end of the data",
        ),
        ({"val": ["2020-01-12"]}, "splits overlap"),
    ],
)
def test_bad_rolling_windows(store, change, message):
    with pytest.raises(ValueError, match=message):
        rolling(store, ROLLING | change)


def test_a_log_without_items(small_store):
    with pytest.raises(
        ValueError, match=r"has no items, so there is nothing to recommend: name the column with data.roles.item"
    ):
        build_ranking(small_store, protocol=LEAVE_ONE_OUT, unit="line")
