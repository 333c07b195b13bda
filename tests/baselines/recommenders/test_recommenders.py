"""Recommenders: one contract for all of them; those that count against plain Python and hand calculation; bad input."""

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import shipped

from clm_dl.baselines.recommenders.base import Recommender, age
from clm_dl.baselines.recommenders.content import ContentBased, constant_fields
from clm_dl.baselines.recommenders.ease import EASE, RecencyEASE
from clm_dl.baselines.recommenders.markov import Markov
from clm_dl.baselines.recommenders.neighbours import ItemKNN, UserKNN
from clm_dl.baselines.recommenders.popularity import Popular, RecentPopular, Repeat
from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.errors import UserError

ALL = shipped("next_item", "sequence=line")
NAMES = [name for name, spec in ALL.items() if not spec.is_hybrid]


def load(name: str) -> Recommender:
    """The shipped one, whose steps are lines."""
    model: Recommender = ALL[name].make()
    return model


def write(path: Path, customers: dict[str, list[tuple[Any, ...]]], items: list[str]) -> EventStore:
    """Each line is (item or None, hour, category or None, amount)."""
    lines = [line for history in customers.values() for line in history]
    groups = sorted({line[2] for line in lines if line[2] is not None})
    return write_store(
        path,
        customer_ids=np.array(list(customers), dtype=object),
        offsets=np.cumsum([0, *(len(history) for history in customers.values())]),
        time=np.array([line[1] for line in lines]) * 3_600_000_000,
        columns={
            "item": np.array([-1 if line[0] is None else items.index(line[0]) for line in lines]),
            "group": np.array([-1 if line[2] is None else groups.index(line[2]) for line in lines]),
            "amount": np.array([line[3] for line in lines]),
        },
        fields=[
            Field("item", "categorical", "item"),
            Field("group", "categorical"),
            Field("amount", "numeric", "amount"),
        ],
        dictionaries={"item": np.array(items, dtype=object), "group": np.array(groups, dtype=object)},
        end=int(max(line[1] for line in lines) + 1) * 3_600_000_000,
        fingerprint=str(path),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    """40 customers, 30 items in 5 groups, about 20 lines each over 60 days, orders of a few lines, some lines without
    an item.
    """
    rng = np.random.default_rng(0)
    items = [f"i{number:02d}" for number in range(30)]
    customers = {}
    for number in range(40):
        hours = np.sort(rng.integers(0, 30, rng.integers(8, 30))) * 48
        favourite = number % 5
        history = []
        for hour in hours:
            code = int(rng.integers(0, 6)) * 5 + favourite if rng.random() < 0.7 else int(rng.integers(0, 30))
            missing = rng.random() < 0.05
            history.append(
                (
                    None if missing else items[code],
                    int(hour),
                    None if missing else f"g{code % 5}",
                    float(rng.integers(1, 6)),
                )
            )
        customers[f"c{number:02d}"] = history
    return write(tmp_path_factory.mktemp("log") / "store", customers, items)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., EventStore]:
    def make(**customers: str) -> EventStore:
        """Customers as strings of one-letter items, an hour apart; '-' is a line without an item, ' ' begins a new
        order (a new day).
        """
        histories = {}
        for name, text in customers.items():
            hour, lines = 0, []
            for letter in text:
                hour += 24 if letter == " " else 0
                if letter != " ":
                    lines.append((None if letter == "-" else letter, hour, None, 1.0))
            histories[name] = lines
        items = sorted({letter for text in customers.values() for letter in text} - {" ", "-"})
        return write(tmp_path / f"store{len(list(tmp_path.iterdir()))}", histories, items)

    return make


def histories(store: EventStore) -> list[list[tuple[int, int]]]:
    """(item code, time) of every line with an item, a list a customer."""
    item, time = np.asarray(store.column("item")), np.asarray(store.time)
    ranges = zip(store.offsets[:-1], store.offsets[1:], strict=True)
    return [
        [(int(item[row]), int(time[row])) for row in range(first, last) if item[row] >= 0] for first, last in ranges
    ]


def scores(model: Recommender, store: EventStore, at: int | None = None) -> np.ndarray:
    """Of every customer's whole history."""
    start, stop = np.asarray(store.offsets[:-1]), np.asarray(store.offsets[1:])
    return model.scores(store, start, stop, np.full(len(start), store.end if at is None else at))


# -- one contract for all


@pytest.mark.parametrize("name", NAMES)
def test_contract(store: EventStore, name: str) -> None:
    model = load(name).fit(store, "1970-02-10")
    start, stop = model.start_, model.stop_
    at = np.full(len(start), store.end)
    whole = model.scores(store, start, stop, at)
    assert whole.shape == (40, 30)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    halves = [model.scores(store, start[part], stop[part], at[part]) for part in (slice(0, 7), slice(7, None))]
    np.testing.assert_allclose(np.concatenate(halves), whole, rtol=1e-5)  # batch-mates change nothing
    np.testing.assert_array_equal(load(name).fit(store, "1970-02-10").scores(store, start, stop, at), whole)
    lists = model.recommend(["c03", "c01"], 5)
    assert list(lists) == ["customer_id", "rank", "item_id", "score"]
    assert lists["customer_id"].tolist() == ["c03"] * 5 + ["c01"] * 5
    assert lists["rank"].tolist() == [1, 2, 3, 4, 5] * 2
    assert (lists.groupby("customer_id")["score"].diff().dropna() <= 0).all()
    for code, customer in ((3, "c03"), (1, "c01")):
        bought = model.lines(store, start[[code]], stop[[code]]).item
        assert not set(lists.loc[lists["customer_id"] == customer, "item_id"]) & set(model.item_ids_[bought])


@pytest.mark.parametrize("name", NAMES)
def test_rows_after_the_cutoff_change_nothing(tmp_path: Path, store: EventStore, name: str) -> None:
    item = np.asarray(store.column("item")).copy()
    later = np.asarray(store.time) >= 40 * DAY
    item[later] = np.random.default_rng(1).integers(0, 30, int(later.sum()))
    fields = [Field("item", "categorical", "item"), Field("group", "categorical"), Field("amount", "numeric", "amount")]
    group = np.where(item >= 0, item % 5, -1)
    changed = write_store(
        tmp_path / "changed",
        customer_ids=store.customer_ids,
        offsets=store.offsets,
        time=store.time,
        fields=fields,
        columns={"item": item, "group": group, "amount": store.column("amount")},
        end=store.end,
        fingerprint="changed",
        dictionaries={"item": store.dictionary("item"), "group": store.dictionary("group")},
    )
    ours, theirs = (
        load(name).fit(log, 40 * DAY).recommend(log.customer_ids, 10, repeats="allow") for log in (store, changed)
    )
    pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_row_stops_equal_a_cutoff_and_dates_equal_microseconds(store: EventStore, name: str) -> None:
    by_date = load(name).fit(store, "1970-02-10")
    by_rows = load(name).fit(store, by_date.stop_)
    by_time = load(name).fit(store, 40 * DAY)
    for other in (by_rows, by_time):
        np.testing.assert_array_equal(scores(by_date, store), scores(other, store))


@pytest.mark.parametrize("name", NAMES)
def test_another_log_is_matched_by_item_id(tmp_path: Path, store: EventStore, name: str) -> None:
    model = load(name).fit(store, store.end)
    ids = ["new", *store.dictionary("item")[::-1]]
    known = [("i04", 1, "g4", 1.0), ("i09", 30, "g4", 1.0)]
    other = write(
        tmp_path / "other", {"x": known, "y": [("new", 2, None, 1.0), *known], "z": [("new", 3, None, 1.0)]}, ids
    )
    same = write(tmp_path / "same", {"x": known}, list(store.dictionary("item")))
    found = scores(model, other, at=store.end)
    tolerance = 1e-5 if name in ("als", "bpr") else 0  # whose products of matrices depend on the number of rows
    np.testing.assert_allclose(found[0], scores(model, same, at=store.end)[0], rtol=tolerance)
    np.testing.assert_allclose(found[1], found[0], rtol=tolerance)
    np.testing.assert_array_equal(found[2], model.count_)  # nothing known: popularity


def test_customers_without_history_get_what_is_popular(store: EventStore) -> None:
    model = load("ease").fit(store, store.end)
    row = np.array([0])
    np.testing.assert_array_equal(model.scores(store, row, row, row)[0], Popular().fit(store, store.end).count_)


def test_bad_input_is_one_sentence(store: EventStore, tmp_path: Path) -> None:
    model = Popular().fit(store, store.end)
    with pytest.raises(
        ValueError, match=r"customer 'c1' is not in the log .* \(did you mean 'c\d\d'\?\): give ids that it has"
    ):
        model.recommend(["c1"])
    with pytest.raises(ValueError, match="k must be from 1 to the 30 items of the catalogue, got 31"):
        model.recommend(["c01"], 31)
    with pytest.raises(ValueError, match="repeats must be one of remove, allow, got 'keep'"):
        model.recommend(["c01"], repeats="keep")
    with pytest.raises(
        ValueError, match=r"no item line of the store .* lies before the cutoff 1969-01-01, so choose a later one"
    ):
        Popular().fit(store, "1969-01-01")
    bare = write_store(
        tmp_path / "bare",
        customer_ids=np.array(["a"], dtype=object),
        offsets=np.array([0, 1]),
        time=np.array([0]),
        columns={},
        fields=[],
        dictionaries={},
        end=1,
        fingerprint="bare",
    )
    with pytest.raises(
        ValueError, match=r"has no items, so there is nothing to recommend: name the column with data\.roles\.item"
    ):
        Popular().fit(bare, 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RecentPopular(half_life_days=0), "half_life_days must be > 0, got 0"),
        (Repeat(half_life_days=-1), "half_life_days must be > 0, got -1"),
        (ItemKNN(k=0), "k must be at least 1 neighbour, got 0"),
        (UserKNN(similarity="dice"), "similarity must be one of cosine, pearson, got 'dice'"),
        (EASE(penalty=0), "penalty must be > 0, got 0"),
        (RecencyEASE(tau=0), "tau must be > 0 steps, got 0"),
        (Markov(window=0), "window must be at least 1 step, got 0"),
        (Markov(unit="basket"), "unit must be one of line, order, got 'basket'"),
        (ContentBased(categorical=[]), "has no field that describes items: name some"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bad_options_are_one_sentence(store: EventStore, model: Recommender, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model.fit(store, store.end)


# -- each against plain Python


def test_age_counts_lines_or_orders(tiny: Callable[..., EventStore]) -> None:
    store = tiny(a="ab c", b="a- bc d")
    model = Popular().fit(store, store.end)
    start, stop = np.asarray(store.offsets[:-1]), np.asarray(store.offsets[1:])
    lines = model.lines(store, start, stop)
    assert age(store, lines, stop, "line").tolist() == [2, 1, 0, 4, 2, 1, 0]
    assert age(store, lines, stop, "order").tolist() == [1, 1, 0, 2, 1, 1, 0]


def test_popularity(store: EventStore) -> None:
    count = np.zeros(30)
    decayed = np.zeros(30)
    for history in histories(store):
        for item, time in history:
            count[item] += 1
            if time // DAY < 50:
                decayed[item] += 0.5 ** ((50 - time // DAY) / 7)
    np.testing.assert_array_equal(scores(Popular().fit(store, store.end), store)[5], count)
    recent = scores(RecentPopular(half_life_days=7).fit(store, store.end), store, at=50 * DAY)
    np.testing.assert_allclose(recent[5], decayed, rtol=1e-5)


def test_repeat_ranks_own_items_by_decayed_count_then_the_rest_by_popularity(store: EventStore) -> None:
    found = scores(Repeat(half_life_days=20).fit(store, store.end), store)
    count = Popular().fit(store, store.end).count_
    for row, history in zip(found, histories(store), strict=True):
        own: dict[int, float] = defaultdict(float)
        for item, time in history:
            own[item] += 0.5 ** ((store.end - time) / DAY / 20)
        rest = sorted(set(range(30)) - set(own))
        np.testing.assert_allclose(row[list(own)], [1 + value for value in own.values()], rtol=1e-5)
        np.testing.assert_array_equal(np.argsort(row[rest], kind="stable"), np.argsort(count[rest], kind="stable"))
        assert row[rest].max() < row[list(own)].min()


def test_a_repeat_that_decayed_to_nothing_still_leads(tiny: Callable[..., EventStore]) -> None:
    store = tiny(a="ab", b="bbbb")
    row = scores(Repeat(half_life_days=1).fit(store, store.end), store, at=5_000 * DAY)[0]
    assert row.tolist() == [1, 1]


@pytest.mark.parametrize("similarity", ["cosine", "pearson"])
def test_item_neighbours(store: EventStore, similarity: str) -> None:
    bought = np.zeros((40, 30))
    for row, history in zip(bought, histories(store), strict=True):
        row[[item for item, _ in history]] = 1
    columns = bought - bought.mean(axis=0) if similarity == "pearson" else bought
    length = np.linalg.norm(columns, axis=0)
    similar = columns.T @ columns / (np.outer(length, length) + 2.0)
    np.fill_diagonal(similar, 0)
    expected = np.zeros((40, 30))
    for item in range(30):
        near = [other for other in np.argsort(-similar[item], kind="stable")[:4] if similar[item, other] > 0]
        expected[:, item] = bought[:, near] @ similar[item, near]
    np.testing.assert_allclose(
        scores(ItemKNN(k=4, similarity=similarity, shrink=2.0).fit(store, store.end), store), expected, atol=1e-5
    )


@pytest.mark.parametrize("similarity", ["cosine", "pearson"])
def test_customer_neighbours(store: EventStore, similarity: str) -> None:
    bought = np.zeros((40, 30))
    for row, history in zip(bought, histories(store), strict=True):
        row[[item for item, _ in history]] = 1
    rows = bought - bought.mean(axis=1, keepdims=True) if similarity == "pearson" else bought
    length = np.linalg.norm(rows, axis=1)
    similar = rows @ rows.T / np.outer(length, length)
    expected = np.zeros((40, 30))
    for customer in range(40):
        near = np.argsort(-similar[customer], kind="stable")[:6]
        expected[customer] = np.maximum(similar[customer, near], 0) @ bought[near]
    ordered = -np.sort(-similar, axis=1)
    clear = ordered[:, 5] - ordered[:, 6] > 1e-6  # no tie for the sixth place
    assert clear.sum() > 30
    model = UserKNN(k=6, similarity=similarity).fit(store, store.end)
    np.testing.assert_allclose(scores(model, store)[clear], expected[clear], atol=1e-5)


def test_ease_is_the_constrained_ridge_solution(store: EventStore) -> None:
    """Column j of B minimises |X_j − X b|² + penalty |b|² with b_j = 0: solved one column at a time."""
    bought = np.zeros((40, 30))
    for row, history in zip(bought, histories(store), strict=True):
        row[[item for item, _ in history]] = 1
    weights = np.zeros((30, 30))
    for item in range(30):
        others = np.arange(30) != item
        gram = bought[:, others].T @ bought[:, others] + 3.0 * np.eye(29)
        weights[others, item] = np.linalg.solve(gram, bought[:, others].T @ bought[:, item])
    model = EASE(penalty=3.0).fit(store, store.end)
    np.testing.assert_allclose(model.weights_, weights, atol=1e-5)
    np.testing.assert_allclose(scores(model, store), bought @ weights, atol=1e-5)
    decayed = np.zeros((40, 30))
    for row, start, stop in zip(decayed, store.offsets[:-1], store.offsets[1:], strict=True):
        for line in range(start, stop):
            if (item := store.column("item")[line]) >= 0:
                row[item] += math.exp(-(stop - 1 - line) / 4.0)
    recent = RecencyEASE(penalty=3.0, tau=4.0).fit(store, store.end)
    np.testing.assert_allclose(scores(recent, store), decayed @ weights, atol=1e-5)


def test_ease_covers_the_most_popular_items(store: EventStore) -> None:
    model = EASE(max_items=10).fit(store, store.end)
    assert len(model.kept_) == 10
    left = np.setdiff1d(np.arange(30), model.kept_)
    assert model.count_[model.kept_].min() >= model.count_[left].max()
    assert (scores(model, store)[:, left] == 0).all()


def test_markov_by_hand(tiny: Callable[..., EventStore]) -> None:
    store = tiny(one="abca", two="ab")
    model = Markov(window=2, context=2, decay=1.0, shrink=1.0).fit(store, store.end)
    # a→b 1+1, a→c ½; b→c 1, b→a ½; c→a 1
    expected = np.array([[0, 2 / 3.5, 0.5 / 3.5], [0.5 / 2.5, 0, 1 / 2.5], [1 / 2, 0, 0]])
    np.testing.assert_allclose(model.transitions_.toarray(), expected, rtol=1e-6)
    np.testing.assert_allclose(scores(model, store)[0], expected[0] + expected[2] / 2, rtol=1e-6)  # a last, c before
    np.testing.assert_allclose(scores(model, store)[1], expected[1] + expected[0] / 2, rtol=1e-6)


def test_markov_of_orders_and_over_missing_items(tiny: Callable[..., EventStore]) -> None:
    store = tiny(one="aab c-", two="- a c")
    model = Markov(window=1, context=1, shrink=0.0, unit="order").fit(store, store.end)
    np.testing.assert_allclose(model.transitions_.toarray(), [[0, 0, 1], [0, 0, 1], [0, 0, 0]])
    lines = Markov(window=1, context=1, shrink=0.0).fit(tiny(one="a-b"), 10 * DAY)
    assert lines.transitions_.nnz == 0  # a line without an item is a step all the same


def test_content_by_hand(tmp_path: Path) -> None:
    log = {
        "x": [("a", 1, "red", 1.0), ("b", 2, "red", 1.0), ("c", 3, "blue", 1.0)],
        "y": [("d", 1, "blue", 1.0), ("e", 2, None, 1.0)],
    }
    store = write(tmp_path / "store", log, list("abcde"))
    assert constant_fields(store, np.ones(5, bool)) == ["group"]
    found = scores(ContentBased().fit(store, store.end), store)
    np.testing.assert_allclose(found[0], [2 / 5**0.5, 2 / 5**0.5, 1 / 5**0.5, 1 / 5**0.5, 0], rtol=1e-5)
    np.testing.assert_allclose(found[1], [0, 0, 1, 1, 0], rtol=1e-5)


def test_content_ranks_an_item_that_training_never_saw(tmp_path: Path) -> None:
    log = {
        "x": [("a", 1, "red", 1.0), ("b", 2, "blue", 9.0), ("new", 100, "red", 1.0)],
        "y": [("b", 1, "blue", 9.0), ("c", 2, "blue", 8.0), ("a", 100, "red", 1.0)],
    }
    store = write(tmp_path / "store", log, ["a", "b", "c", "new"])
    model = ContentBased().fit(store, 2 * DAY)
    assert model.count_.tolist() == [1, 2, 1, 0]
    assert model.recommend(["x"], 1)["item_id"].tolist() == ["new"]
    priced = ContentBased(categorical=[], numeric=["amount"], bins=3).fit(store, 2 * DAY)
    similar = (priced.content_ @ priced.content_.T).toarray()
    assert similar[3].tolist() == [0, 0, 0, 0]  # no price known before the cutoff
    np.testing.assert_allclose(np.diag(similar)[:3], 1, rtol=1e-6)


@pytest.mark.parametrize(("reds", "found"), [(1, []), (8, []), (9, ["group"])])
def test_a_field_describes_an_item_when_nine_of_ten_lines_agree(tmp_path: Path, reds: int, found: list[str]) -> None:
    lines = [("a", hour, "red" if hour < reds else "blue", 1.0) for hour in range(10)]
    assert constant_fields(write(tmp_path / "store", {"x": lines}, ["a"]), np.ones(10, bool)) == found


def test_which_fields_describe_items_is_read_from_the_training_rows(tmp_path: Path) -> None:
    later = [("a", 50 + hour, "blue", 1.0) for hour in range(10)]
    store = write(tmp_path / "store", {"x": [("a", 1, "red", 1.0), ("b", 2, "blue", 1.0), *later]}, ["a", "b"])
    training = np.arange(store.num_events) < 2
    assert (constant_fields(store, training), constant_fields(store, ~training | training)) == (["group"], [])
    assert ContentBased().fit(store, DAY).content_.shape == (2, 2)
