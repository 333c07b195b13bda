"""Lists for any log: customers never seen, items never seen, what is bought is not recommended, filters, reasons,
neighbours.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.open import open_store
from clm_dl.experiment.inference import customers_of
from clm_dl.recommending import item_vectors
from clm_dl.run import Run, load_run

CUTOFF = pd.Timestamp("2021-06-01")
COLUMNS = ["customer_id", "cutoff", "rank", "item_id", "score", "reason", "nearest"]


def lines(customer: str, items: list[str], *, first: str = "2021-05-01") -> pd.DataFrame:
    """A customer's history, an order of one item a day."""
    frame = pd.DataFrame(
        {"cust": customer, "sku": items, "basket": [f"{customer}-{place}" for place in range(len(items))]}
    )
    dept = [["food", "toys", "garden"][int(item[1:]) % 3] for item in items]
    return frame.assign(
        ts=pd.Timestamp(first) + pd.to_timedelta(np.arange(len(items)), unit="D"), dept=dept, spend=5.0, region="north"
    )


@pytest.fixture(scope="module")
def lists(ranked_run: Run, ring_log: pd.DataFrame) -> pd.DataFrame:
    return ranked_run.recommend(ring_log, cutoff=CUTOFF)


def test_everyone_with_a_history_gets_a_list(ranked_run: Run, ring_log: pd.DataFrame, lists: pd.DataFrame) -> None:
    assert list(lists.columns) == COLUMNS
    assert set(lists["customer_id"]) == set(ring_log.loc[ring_log["ts"] < CUTOFF, "cust"])
    assert (lists.groupby("customer_id")["rank"].agg(list).map(lambda ranks: ranks == list(range(1, 11)))).all()
    assert (lists["cutoff"] == CUTOFF.tz_localize("UTC")).all()
    assert (lists.groupby("customer_id")["score"].diff().dropna() <= 0).all()
    assert not lists.duplicated(["customer_id", "item_id"]).any()
    assert set(lists["item_id"]) <= set(ranked_run.catalogue.item_ids)


def test_what_was_bought_is_not_recommended(ring_log: pd.DataFrame, lists: pd.DataFrame) -> None:
    bought = ring_log[ring_log["ts"] < CUTOFF].groupby("cust")["sku"].agg(set)
    assert not any(
        item in bought[customer] for customer, item in zip(lists["customer_id"], lists["item_id"], strict=True)
    )
    assert set(lists["reason"]) <= {"popular", "similar"}


def test_the_future_changes_nothing(ranked_run: Run, ring_log: pd.DataFrame, lists: pd.DataFrame) -> None:
    late = ring_log["ts"] >= CUTOFF
    changed = ring_log.copy()
    changed.loc[late, "sku"] = np.random.default_rng(0).permutation([*changed.loc[late, "sku"][1:], "i-new"])
    pd.testing.assert_frame_equal(ranked_run.recommend(changed, cutoff=CUTOFF), lists)


def test_customers_never_seen_are_served_from_their_raw_history(ranked_run: Run) -> None:
    history = lines("somebody", ["i20", "i21", "i22", "i23"])
    found = ranked_run.recommend(pd.concat([history, lines("else", ["i50", "i51"])]), cutoff=CUTOFF, k=2)
    first = found[found["customer_id"] == "somebody"]
    assert first["item_id"].iloc[0] == "i24"  # what comes next in the ring
    assert found[found["customer_id"] == "else"]["item_id"].iloc[0] == "i52"
    alone = ranked_run.recommend(history, cutoff=CUTOFF, k=2)
    assert (
        alone["item_id"].tolist() == first["item_id"].tolist()
    )  # neither other customers nor another dictionary of items matter
    np.testing.assert_allclose(alone["score"], first["score"], rtol=1e-5)


def test_without_a_cutoff_all_of_the_log_is_history(ranked_run: Run) -> None:
    """The newest event, too: a single one is a history, and what was bought last is not recommended again."""
    history = lines("somebody", ["i20", "i21", "i22"], first="2021-05-01 12:30")
    found = ranked_run.recommend(history, k=57)
    assert set(found["item_id"]) == set(ranked_run.catalogue.item_ids) - {"i20", "i21", "i22"}
    assert found["item_id"].iloc[0] == "i23"
    assert len(ranked_run.recommend(history.iloc[:1], k=3)) == 3
    assert len(ranked_run.embed(history.iloc[:1])) == 1


def test_items_never_seen_are_unknown(ranked_run: Run) -> None:
    """An item that the catalogue lacks is no recommendation, is not removed as seen, and reads like any other unknown
    one.
    """
    logs = [
        lines("c", ["i20", item, "i22", "i23"]).assign(dept=["toys", "toys", "garden", "food"])
        for item in ("i9991", "i9981")
    ]
    one, two = (ranked_run.recommend(log, cutoff=CUTOFF, k=57) for log in logs)  # 60 items, 3 of them bought
    pd.testing.assert_frame_equal(one, two)
    assert set(one["item_id"]) == set(ranked_run.catalogue.item_ids) - {"i20", "i22", "i23"}
    assert one["item_id"].iloc[0] == "i24"
    missing = lines("c", ["i20", "i21"])
    missing.loc[1, "sku"] = None
    assert len(ranked_run.recommend(missing, cutoff=CUTOFF, k=60)) == 59
    nothing = ranked_run.recommend(
        lines("c", ["i9991"]), cutoff=CUTOFF, k=3
    )  # not a single known item: still a list, near to nothing
    assert nothing["nearest"].tolist() == ["", "", ""]


def test_lists_are_cut_and_customers_chosen(ranked_run: Run, ring_log: pd.DataFrame, lists: pd.DataFrame) -> None:
    few = ranked_run.recommend(ring_log, cutoff=CUTOFF, k=3, customers=["c008", "c002", "c008"])
    assert few["customer_id"].tolist() == ["c008"] * 3 + ["c002"] * 3
    for customer, part in few.groupby("customer_id"):
        assert part["item_id"].tolist() == lists[lists["customer_id"] == customer]["item_id"].tolist()[:3]
    everything = ranked_run.recommend(ring_log, cutoff=CUTOFF, k=60, customers=["c008"])
    bought = set(ring_log.loc[(ring_log["cust"] == "c008") & (ring_log["ts"] < CUTOFF), "sku"])
    assert set(everything["item_id"]) == set(ring_log["sku"]) - bought  # no more than there is


def test_only_such_items(ranked_run: Run, ring_log: pd.DataFrame, lists: pd.DataFrame) -> None:
    dept = ring_log.drop_duplicates("sku").set_index("sku")["dept"]
    toys = ranked_run.recommend(ring_log, cutoff=CUTOFF, where={"dept": "toys"})
    assert set(toys["item_id"].map(dept)) == {"toys"}
    two = ranked_run.recommend(ring_log, cutoff=CUTOFF, where={"dept": ["toys", "food"]})
    assert set(two["item_id"].map(dept)) == {"toys", "food"}
    whole = lists[lists["item_id"].map(dept) == "toys"]  # the order within the filter is that of the whole list
    for customer, part in whole.groupby("customer_id"):
        assert toys[toys["customer_id"] == customer]["item_id"].tolist()[: len(part)] == part["item_id"].tolist()
    everything = ranked_run.recommend(ring_log, cutoff=CUTOFF, k=60, customers=["c008"], where={"dept": "toys"})
    assert 0 < len(everything) <= 20


def test_reasons_and_neighbours(
    ranked_run: Run, train_ranked: Callable[..., Run], ring_log: pd.DataFrame, lists: pd.DataFrame
) -> None:
    count = ranked_run.catalogue.count
    popular = set(
        ranked_run.catalogue.item_ids[count == count.max()]
    )  # of 60 items the first hundredth is one, or those equal to it
    assert set(lists.loc[lists["reason"] == "popular", "item_id"]) <= popular
    assert not set(lists.loc[lists["reason"] == "similar", "item_id"]) & popular
    bought = ring_log[ring_log["ts"] < CUTOFF].groupby("cust")["sku"].agg(set)
    vectors = item_vectors(ranked_run).set_index("item_id")
    unit = vectors.div(np.sqrt((vectors**2).sum(axis=1)), axis=0)
    for row in lists.iloc[::37].itertuples():
        cosine = unit.loc[sorted(bought[row.customer_id])] @ unit.loc[row.item_id]
        assert row.nearest == cosine.idxmax()
    allowed = train_ranked("policy.repeats=allow", "trainer.max_epochs=1", "baselines=none").recommend(
        ring_log, cutoff=CUTOFF
    )
    again = pd.Series(
        [item in bought[customer] for customer, item in zip(allowed["customer_id"], allowed["item_id"], strict=True)]
    )
    assert again.any()
    assert ((allowed["reason"] == "repeat") == again).all()
    assert (allowed["nearest"] != allowed["item_id"]).all()


def test_lists_by_any_model_of_the_run(train_ranked: Callable[..., Run], ring_log: pd.DataFrame) -> None:
    """What a baseline lists equals its own `recommend` after a fit by hand; hybrids and the best model serve strangers,
    too.
    """
    run = train_ranked("baselines=[markov,popular,blend,two_stage]")
    assert run.metrics["best_model"]["name"] in {"network", "markov", "popular", "blend", "two_stage"}
    task = load_run(run.path).trained.task
    markov, _ = task.fit_baseline(
        task.spec("markov"), task.cases(open_store(run.config["data"], run.config["paths"])), {}
    )
    found = run.recommend(ring_log, cutoff=CUTOFF, k=4, customers=["c002", "c008"], model="markov")
    with customers_of(run.trained, ring_log, CUTOFF) as (store, cases):
        snapshots = cases.snapshots
        for customer, part in found.groupby("customer_id"):
            row = np.flatnonzero(store.customer_ids[snapshots.customer] == customer)
            scores_V = markov.scores(store, snapshots.start[row], snapshots.stop[row], snapshots.cutoff[row])[0]
            bought = set(ring_log.loc[(ring_log["cust"] == customer) & (ring_log["ts"] < CUTOFF), "sku"])
            order = [
                item for item in run.catalogue.item_ids[np.argsort(-scores_V, kind="stable")] if item not in bought
            ]
            assert part["item_id"].tolist() == order[:4]
    stranger = lines("somebody", ["i20", "i21", "i22", "i23"])
    for model in ("blend", "two_stage", "best"):
        alone = run.recommend(stranger, cutoff=CUTOFF, k=3, model=model)
        assert alone["item_id"].iloc[0] == "i24"
        among = run.recommend(pd.concat([stranger, lines("else", ["i50", "i51"])]), cutoff=CUTOFF, k=3, model=model)
        assert among.loc[among["customer_id"] == "somebody", "item_id"].tolist() == alone["item_id"].tolist()


def test_item_vectors_stand_in_the_order_of_the_catalogue(ranked_run: Run, ring_log: pd.DataFrame) -> None:
    vectors = item_vectors(ranked_run)
    assert vectors["item_id"].tolist() == ranked_run.catalogue.item_ids.tolist() == sorted(ring_log["sku"].unique())
    customers = ranked_run.embed(ring_log, cutoff=CUTOFF)
    assert vectors.shape[1] - 1 == customers.shape[1] - 2 == 16
    lists = ranked_run.recommend(ring_log, cutoff=CUTOFF, k=5)
    score = (
        customers.filter(like="z").to_numpy() @ vectors.filter(like="z").to_numpy().T
    )  # customers and items share a space
    place = (
        customers["customer_id"].searchsorted(lists["customer_id"]),
        vectors["item_id"].searchsorted(lists["item_id"]),
    )
    np.testing.assert_allclose(lists["score"], score[place], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be from 1 to the 60 items of the catalogue, got 0"),
        ({"k": 61}, "k must be from 1 to the 60 items of the catalogue, got 61"),
        ({"k": "abc"}, "k is the length of a list and must be an integer, got 'abc'"),
        ({"k": 2.5}, "must be an integer, got 2.5"),
        ({"customers": "nobody"}, "customer 'nobody' has no event before the cutoff"),
        ({"customers": []}, "customers names nobody"),
        ({"where": "dept"}, r"where must name columns and their values, got 'dept'"),
        ({"where": {"dept": None}}, "no item has dept=None"),
        ({"where": {"dept": []}}, "leaves no item"),
        (
            {"model": "popluar"},
            r"no model 'popluar' \(did you mean 'popular'\?\); it has network, popular, repeat, and best",
        ),
        ({"customers": ["c001", "nobody"]}, "customer 'nobody' has no event before the cutoff"),
        ({"where": {"dpet": "toys"}}, r"no item column 'dpet' to filter by \(did you mean 'dept'\?\)"),
        ({"where": {"dept": "toyz"}}, r"no item has dept=toyz \(did you mean 'toys'\?\)"),
        ({"cutoff": "2020-01-01"}, "before the cutoff"),
    ],
)
def test_one_sentence_for_what_cannot_be(ranked_run: Run, ring_log: pd.DataFrame, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranked_run.recommend(ring_log, **{"cutoff": CUTOFF, **options})


def test_churn_runs_do_not_recommend_and_ranked_runs_do_not_predict(
    run: Run, ranked_run: Run, ring_log: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match="answers churn and ranks no items"):
        run.recommend(cutoff="2021-09-01")
    with pytest.raises(ValueError, match=r"answers next_item with ranked lists: use run\.recommend"):
        ranked_run.predict(ring_log, cutoff=CUTOFF)
