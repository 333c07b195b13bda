"""SequenceInputs: what is fitted on what, the loaders, a run's schema applied to another store, and leakage by
permutation.
"""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from support import inputs_of, rule, snapshots_of

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.snapshots.calendar import known_future
from clm_dl.data.snapshots.scoring import scoring_snapshots
from clm_dl.errors import UserError

CUTOFF = pd.Timestamp("2020-04-20")  # last training cutoff
SPLITS = {"train": ["2020-03-20", "2020-04-20"], "val": ["2020-05-10", "2020-05-20"], "test": ["2020-06-10"]}
RULE = {"horizon_days": 20, "active_days": 90, **SPLITS}


def inputs(store, **arguments):
    return inputs_of(store, snapshots_of(store, **RULE), **{"max_tokens": 8, "max_tokens_per_batch": 64} | arguments)


def tensors(batch):
    """Every tensor of a batch by name."""
    found = {}
    for name, value in vars(batch).items():
        if isinstance(value, torch.Tensor):
            found[name] = value
        else:
            for field, part in value.items():
                found |= {
                    f"{field}.{place}": tensor
                    for place, tensor in enumerate(part if isinstance(part, tuple) else (part,))
                }
    return found


def assert_equal_batches(left, right):
    left, right = tensors(left), tensors(right)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name].float().nan_to_num(-9.0), right[name].float().nan_to_num(-9.0)), name


# --- loaders


def test_loaders_are_complete_and_only_what_is_labelled_is_learnt_from(small_store):
    snapshots = snapshots_of(small_store, **RULE)
    label = np.where(np.arange(len(snapshots)) % 5 == 2, np.nan, snapshots.label)  # censored
    snapshots = dataclasses.replace(snapshots, label=label)
    data = inputs_of(small_store, snapshots, max_tokens=8, max_tokens_per_batch=64)
    known, date = ~np.isnan(label), pd.to_datetime(snapshots.cutoff, unit="us").strftime("%Y-%m-%d")
    for loader, chosen in {
        data.train_loader(): known & np.isin(date, SPLITS["train"]),
        data.loader(data.rows("val")): known & (date == SPLITS["val"][0]),  # the newer one is for calibration
        data.loader(data.rows("test")): np.isin(date, SPLITS["test"]),
        data.loader(np.arange(len(snapshots))): np.ones(len(snapshots), bool),
        data.loader(np.array([7, 3, 5])): np.isin(np.arange(len(snapshots)), [3, 5, 7]),
    }.items():
        index = np.concatenate([batch.index_B for batch in loader])
        assert np.array_equal(np.sort(index), np.flatnonzero(chosen))
        assert len(index) < 5 or 1.0 <= loader.sampler.padding_ratio() < 1.3


def test_a_label_that_is_not_known_is_neither_trained_on_nor_fitted_on(small_store, tmp_path):
    """A given label may be empty: its snapshot is scored, and no scale comes from its history."""
    names = small_store.customer_ids.tolist()
    given = pd.DataFrame(
        {"customer": names, "label": [None if place % 3 == 0 else place % 2 for place in range(len(names))]}
    )
    times = [day for days in SPLITS.values() for day in days]
    given.merge(pd.DataFrame({"time": times}), how="cross").to_csv(tmp_path / "labels.csv", index=False)
    labels = {"name": "given", "path": tmp_path / "labels.csv"}
    data = inputs_of(small_store, snapshots_of(small_store, horizon_days=20, labels=labels, **SPLITS))
    unknown = np.isin(data.snapshots.customer, np.arange(0, len(names), 3))
    loaders = (data.train_loader(), data.loader(data.rows("val")), data.loader(data.rows("test")))
    read = [unknown[np.concatenate([batch.index_B for batch in loader])] for loader in loaders]
    assert [rows.any() for rows in read] == [False, False, True]
    tenure = data.snapshots.cutoff - small_store.time[data.snapshots.start]
    known = tenure[(data.snapshots.split == "train") & ~unknown]
    assert data.schema["head"]["tenure"]["center"] == pytest.approx(np.median(np.log1p(known / 86400e6)))


def test_workers_make_the_same_batches(small_store):
    one, two = inputs(small_store), inputs(small_store, num_workers=1)
    for left, right in zip(one.train_loader(), two.train_loader(), strict=True):
        assert_equal_batches(left, right)


def test_epochs_and_seeds_differ_and_repeat(small_store):
    orders = []
    for epoch, seed in ((0, 0), (1, 0), (0, 0), (0, 1)):
        loader = inputs(small_store, seed=seed).train_loader(epoch=epoch)
        orders.append(np.concatenate([batch.index_B for batch in loader]))
    assert np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[3])


def test_processes_share_an_epoch(small_store):
    data = inputs(small_store)
    for epoch in (0, 1):
        shares = [data.train_loader(epoch=epoch, rank=rank, world_size=2) for rank in (0, 1)]
        index = [np.concatenate([batch.index_B for batch in share]) for share in shares]
        assert len(shares[0]) == len(shares[1])
        assert not set(index[0]) & set(index[1])
        assert sorted([*index[0], *index[1]]) == data.rows("train").tolist()


# --- what is fitted


def test_schema_scales_are_those_of_the_training_histories(small_store):
    data = inputs(small_store, token="line")
    chosen = data.snapshots.select(data.snapshots.training)
    rows = np.unique(np.concatenate([np.arange(a, b) for a, b in zip(chosen.start, chosen.stop, strict=True)]))
    spend = np.log1p(small_store.column("spend")[rows].astype(np.float64))
    low, center, high = np.quantile(spend, [0.25, 0.5, 0.75])
    assert data.schema["numeric"]["spend"] == pytest.approx({"center": center, "scale": high - low})
    recency = np.log1p((chosen.cutoff - small_store.time[chosen.stop - 1]) / 86400e6)
    assert data.schema["head"]["recency"]["center"] == pytest.approx(np.median(recency))
    assert data.schema["categorical"] == data.vocabulary.sizes
    assert not data.schema["bags"]
    assert json.loads(json.dumps(data.schema)) == data.schema


def test_customers_kept_out_of_training_are_not_fitted_on(small_log, store_of):
    log = small_log.copy()
    apart = {"horizon_days": 20, "val_customers": 0.3, "train": SPLITS["train"], "test": SPLITS["test"], "seed": 1}
    static = pd.DataFrame({"income": np.arange(30.0), "age": ["young", "old"] * 15})
    store = store_of(log, static=static)
    first = inputs_of(store, snapshots_of(store, **apart), features=True)
    held = store.customer_ids[np.unique(first.snapshots.customer[first.snapshots.split == "val"])]
    changed = log["cust"].isin(held)
    log.loc[changed, ["sku", "spend"]] = ["never", 1e6]
    static.loc[np.isin(store.customer_ids, held), ["income", "age"]] = [1e6, "ancient"]
    store = store_of(log, static=static)
    second = inputs_of(store, snapshots_of(store, **apart), features=True)
    assert changed.sum() > 20
    assert {"static.income", "static.age=young"} < set(first.schema["head"])
    assert "total_spend" in first.schema["known"]
    assert (first.vocabulary, first.schema) == (second.vocabulary, second.schema)


def test_static_attributes(small_log, store_of):
    static = pd.DataFrame({"age": ["young", "old", None] * 10, "income": [10.0, np.nan, 30.0] * 10, "city": ["x"] * 30})
    static.loc[0, "age"] = None
    data = inputs(store_of(small_log, static=static), exclude=["city"])
    names = [name for name in data.schema["head"] if name not in ("recency", "tenure")]
    assert names == ["static.age=old", "static.age=young", "static.age=missing", "static.income"]
    batch = next(iter(data.loader(np.arange(len(data.snapshots)))))
    customer = data.snapshots.customer[batch.index_B]
    expected = np.column_stack(
        [static["age"] == "old", static["age"] == "young", static["age"].isna(), static["income"]]
    ).astype(np.float32)[customer]
    np.testing.assert_array_equal(batch.static_BS, expected)


def test_known_future_sums_the_label_window(small_store, tmp_path):
    path = tmp_path / "holidays.csv"
    days = pd.date_range("2020-01-01", "2020-12-31")
    holiday = (days.day_of_year % 7 == 0).astype(int)
    pd.DataFrame({"day": days, "holiday": holiday, "note": "x"}).to_csv(path, index=False)
    calendar = {"path": str(path), "time": "day", "columns": ["holiday"]}
    data = inputs(small_store, calendar=calendar)
    assert list(data.schema["known"]) == ["holiday"]
    for batch in data.loader(data.rows("test")):
        cutoff = pd.to_datetime(data.snapshots.cutoff[batch.index_B], unit="us")
        expected = [holiday[(days >= c) & (days < c + pd.Timedelta(days=20))].sum() for c in cutoff]
        np.testing.assert_allclose(batch.known_BK[:, 0], expected, atol=1e-5)
    for wrong, message in [
        ({"path": "nowhere.csv"}, "no calendar table"),
        ({"columns": ["holidays"]}, "no column 'holidays'"),
        ({"columns": ["note"]}, "must be numeric"),
        ({"time": "note", "columns": ["holiday"]}, "no date"),
    ]:
        with pytest.raises(ValueError, match=message):
            inputs(small_store, calendar=calendar | wrong)


def test_windows_beyond_the_calendar_are_said_and_none_in_it_is_refused(small_store, tmp_path):
    path, snapshots = tmp_path / "days.csv", snapshots_of(small_store, **RULE)
    cutoff, horizon = pd.to_datetime(snapshots.cutoff, unit="us"), pd.Timedelta(days=20)
    first, last = cutoff.min(), cutoff.max()

    def said(begin: pd.Timestamp, end: pd.Timestamp) -> list[str]:
        pd.DataFrame({"time": pd.date_range(begin.floor("D"), end.floor("D")), "holiday": 1}).to_csv(path, index=False)
        lines: list[str] = []
        known_future({"path": str(path)}, snapshots, say=lines.append)
        return lines

    day = pd.Timedelta(days=1)
    assert said(first, last + horizon - day) == []
    [line] = said(first, last + horizon - 2 * day)  # the last window lacks its last day
    assert f"tells of {first.date()} to {(last + horizon - 2 * day).date()}; the label windows of 1 of " in line
    assert f"cutoffs ({last.date()}) reach beyond that" in line
    [line] = said(first + day, last + horizon)
    assert f"({first.date()}) reach beyond" in line
    for begin in (first - 400 * day, last + horizon):
        with pytest.raises(UserError, match=r"of no day of the label windows .* add those days to it"):
            said(begin, begin + 100 * day)
    path.write_text("time,holiday\n")
    with pytest.raises(UserError, match="has no rows"):
        known_future({"path": str(path)}, snapshots)


@pytest.mark.parametrize("name", ["days.csv.gz", "days.parquet"])
def test_a_calendar_that_is_cut_short_is_one_sentence(small_store, tmp_path, name):
    days = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=400).astype(str), "holiday": [True, False] * 200})
    path = tmp_path / name
    days.to_csv(path, index=False) if name.endswith("gz") else days.to_parquet(path)
    snapshots = snapshots_of(small_store, **RULE)
    whole = known_future({"path": str(path)}, snapshots)
    assert whole["holiday"].between(8, 12).all()
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UserError, match=f"{name} is cut short"):
        known_future({"path": str(path)}, snapshots)


def test_known_future_begins_after_the_gap(small_store, tmp_path):
    days = pd.date_range("2020-01-01", "2020-12-31")
    pd.DataFrame({"day": days, "number": np.arange(len(days))}).to_csv(tmp_path / "calendar.csv", index=False)
    snapshots = snapshots_of(small_store, **RULE | {"horizon_days": 15, "gap_days": 5})
    table = known_future({"path": str(tmp_path / "calendar.csv"), "time": "day"}, snapshots)
    first = (pd.to_datetime(snapshots.cutoff, unit="us") - days[0]).days + 5
    np.testing.assert_array_equal(table["number"], 15 * first + sum(range(15)))  # the numbers of 15 days in a row


def test_history_features_enter_as_of_the_cutoff_without_what_comes_later(small_log, store_of):
    plain = inputs(store_of(small_log), features=True)
    late = small_log["ts"] >= CUTOFF
    changed = inputs(store_of(small_log.assign(spend=small_log["spend"].where(~late, 1e6))), features=True)
    assert {"recency", "orders_28d", "total_spend"} <= set(plain.schema["known"])
    for batch, other in zip(plain.train_loader(), changed.train_loader(), strict=True):
        torch.testing.assert_close(batch.known_BK, other.known_BK, rtol=0, atol=0, equal_nan=True)
    assert plain.schema == changed.schema, "scales of what is known at the cutoff come from training snapshots alone"


# --- a trained run's vocabulary and schema are applied, never refitted


def test_applied_to_another_store(small_log, store_of, small_store):
    trained = inputs(small_store)
    before = copy.deepcopy((trained.vocabulary, trained.schema))
    other = small_log.assign(sku=small_log["sku"].str.replace("i1", "new"), extra=1.0)
    store = store_of(other)
    snapshots, _ = scoring_snapshots(store, CUTOFF.value // 1000, rule(horizon_days=20))
    vocabulary = Vocabulary.from_json(json.loads(json.dumps(trained.vocabulary.to_json())))
    applied = inputs_of(store, snapshots, vocabulary=vocabulary, schema=json.loads(json.dumps(trained.schema)))
    assert (applied.vocabulary, applied.schema) == before
    batches = list(applied.loader(np.arange(len(snapshots))))
    ids = torch.cat([batch.bags["sku"][0] for batch in batches])
    assert (ids == 1).any(), "values that training never saw are UNK"
    assert ids.max() < trained.schema["categorical"]["sku"]
    assert batches[0].numeric_BTF.shape[-1] == 3, "a field the run does not know is left out"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda log: log.drop(columns="spend"), {}, "numeric field 'spend', which the log lacks"),
        (lambda log: log.drop(columns="dept"), {}, "categorical field 'dept', which the log lacks"),
        (lambda log: log, {"token": "line"}, "trained on order tokens"),
        (lambda log: log, {"vocabulary": Vocabulary({"sku": ["i1"], "dept": []})}, "not the one of the schema"),
    ],
)
def test_schema_mismatch(small_log, store_of, small_store, change, arguments, message):
    trained = inputs(small_store)
    with pytest.raises(ValueError, match=message):
        inputs(store_of(change(small_log)), **{"vocabulary": trained.vocabulary, "schema": trained.schema} | arguments)


def test_a_schema_comes_with_its_vocabulary(small_store):
    with pytest.raises(AssertionError, match="belong together"):
        inputs(small_store, schema=inputs(small_store).schema)


def test_nothing_to_fit_on(small_store):
    snapshots, _ = scoring_snapshots(small_store, CUTOFF.value // 1000, rule(horizon_days=20))
    with pytest.raises(ValueError, match="no labelled training snapshot"):
        inputs_of(small_store, snapshots)


# --- leakage by permutation, from the raw log to the batch

DATA = {
    "name": "small",
    "roles": {"customer": "cust", "time": "ts", "item": "sku"},
    "categorical": ["dept"],
    "numeric": ["spend", "discount"],
    "end": "2020-07-19",
}


def batches_at(frame, folder, cutoff, **arguments):
    """Prepare the raw log, fit on it, and give the batches of the snapshots at one cutoff, by customer."""
    store = prepare_store({**DATA, "frame": frame}, folder / "store")
    data = inputs(store, **arguments)
    chosen = np.flatnonzero(data.snapshots.cutoff == cutoff.value // 1000)
    batch = data.dataset[chosen]
    batch.label_B = batch.index_B = torch.zeros(0)  # labels look ahead, that is their job
    return data, batch, store.customer_ids[data.snapshots.customer[chosen]].tolist()


def shuffled(frame, rows, rng):
    """Every column but the customer is shuffled over these rows, values change, some rows go and new ones come."""
    part = frame[rows].copy()
    for name in part.columns.drop("cust"):
        part[name] = rng.permutation(part[name].to_numpy())
    part["spend"] = part["spend"] * 3 + 1
    part["sku"] = "z" + part["sku"]
    part = part.iloc[len(part) // 10 :]
    return pd.concat([frame[~rows], part, part.iloc[:15].assign(sku="a0")])


@pytest.mark.parametrize("token", ["order", "line"])
def test_what_comes_at_or_after_the_cutoff_changes_nothing(small_log, tmp_path, token):
    rng = np.random.default_rng(5)
    at_cutoff = small_log.sample(5, random_state=0).assign(ts=CUTOFF)  # an event at the cutoff is not before it
    log = pd.concat([small_log, at_cutoff])
    data, batch, customers = batches_at(log, tmp_path, CUTOFF, token=token)
    assert len(customers) > 15
    for _ in range(3):
        changed = shuffled(log, (log["ts"] >= CUTOFF).to_numpy(), rng)
        other, other_batch, other_customers = batches_at(changed, tmp_path, CUTOFF, token=token)
        assert other_customers == customers
        assert_equal_batches(batch, other_batch)
        assert (other.vocabulary, other.schema) == (data.vocabulary, data.schema)


@pytest.mark.parametrize("token", ["order", "line"])
def test_what_comes_before_the_cutoff_does_change_the_batch(small_log, tmp_path, token):
    _, batch, customers = batches_at(small_log, tmp_path, CUTOFF, token=token)
    changed = small_log.copy()
    last = (changed["ts"] < CUTOFF) & (changed["ts"] >= CUTOFF - pd.Timedelta(days=30))
    changed.loc[last, "spend"] += 1.0
    _, other_batch, other_customers = batches_at(changed, tmp_path, CUTOFF, token=token)
    assert other_customers == customers
    assert not torch.equal(batch.numeric_BTF.nan_to_num(), other_batch.numeric_BTF.nan_to_num())
