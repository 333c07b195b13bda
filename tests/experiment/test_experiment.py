"""The pipeline from raw log to scores: nothing at or after a cutoff is read, and customers are scored as the population
rule says.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.run import Run

CUTOFF = pd.Timestamp("2021-08-01")


@pytest.fixture(scope="module")
def garbled(shop_log: pd.DataFrame) -> pd.DataFrame:
    """The log with everything at or after the cutoff changed: values, customers, order of rows, and rows that cannot be
    read.
    """
    rng = np.random.default_rng(0)
    before, after = shop_log[shop_log["ts"] < CUTOFF], shop_log[shop_log["ts"] >= CUTOFF].copy()
    after["cust"] = rng.choice([*shop_log["cust"].unique(), "someone new"], len(after))
    after["dept"] = rng.choice(["fish", "food"], len(after))
    after["spend"] = rng.choice([-1e6, np.nan, np.inf, 3.0], len(after))
    after["ts"] += pd.to_timedelta(rng.integers(0, 5000, len(after)), unit="D")
    at_cutoff = after.iloc[:5].assign(ts=CUTOFF)
    return pd.concat([after, before, at_cutoff], ignore_index=True)


@pytest.fixture(scope="module")
def predicted(run: Run, shop_log: pd.DataFrame) -> pd.DataFrame:
    return run.predict(shop_log, cutoff=CUTOFF)


def test_predict_reads_nothing_at_or_after_the_cutoff(run: Run, garbled: pd.DataFrame, predicted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(run.predict(garbled, cutoff=CUTOFF), predicted)


def test_embed_reads_nothing_at_or_after_the_cutoff(run: Run, shop_log: pd.DataFrame, garbled: pd.DataFrame) -> None:
    vectors = run.embed(shop_log, cutoff=CUTOFF)
    assert list(vectors.columns) == ["customer_id", "cutoff", *(f"z{number}" for number in range(8))]
    assert np.isfinite(vectors.filter(like="z").to_numpy()).all()
    pd.testing.assert_frame_equal(run.embed(garbled, cutoff=CUTOFF), vectors)


def test_an_event_before_the_cutoff_does_change_the_score(
    run: Run, shop_log: pd.DataFrame, predicted: pd.DataFrame
) -> None:
    row = predicted.iloc[0]
    event = pd.DataFrame(
        {"cust": [row["customer_id"]], "dept": ["food"], "ts": [CUTOFF - pd.Timedelta("1s")], "spend": [40.0]}
    )
    again = run.predict(pd.concat([shop_log, event]), cutoff=CUTOFF)
    assert again.loc[0, "score"] != row["score"]
    pd.testing.assert_frame_equal(again.iloc[1:], predicted.iloc[1:])


def test_predict_scores_everyone_with_a_history_and_says_who_is_in_the_population(
    shop_log: pd.DataFrame, predicted: pd.DataFrame
) -> None:
    history = shop_log[shop_log["ts"] < CUTOFF]
    assert set(predicted["customer_id"]) == set(history["cust"])
    last = history.groupby("cust")["ts"].max()
    active = last.index[last >= CUTOFF - pd.Timedelta(days=56)]
    assert set(predicted.loc[predicted["in_population"], "customer_id"]) == set(active)
    assert 0 < len(active) < len(predicted)
    assert predicted["score"].between(0, 1).all()
    assert predicted["label"].isna().all()
    assert set(predicted["split"]) == {"predict"}
    assert (predicted["cutoff"] == CUTOFF.tz_localize("UTC")).all()


def test_customers_without_history_are_absent(run: Run, shop_log: pd.DataFrame) -> None:
    early = shop_log["ts"].min() + pd.Timedelta(days=5)
    assert set(run.predict(shop_log, cutoff=early)["customer_id"]) == set(shop_log.loc[shop_log["ts"] < early, "cust"])
    with pytest.raises(ValueError, match="before the cutoff"):
        run.predict(shop_log, cutoff="2020-01-01")
    with pytest.raises(ValueError, match="ISO date"):
        run.predict(shop_log, cutoff="tomorrow")


def test_training_sees_nothing_of_the_test_period(
    train: Callable[..., Run], run: Run, shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    """Change what lies after the last validation window: vocabulary, scalers, weights and calibration stay the same."""
    limit = pd.Timestamp(run.scores.loc[run.scores["split"] == "test", "cutoff"].min()).tz_localize(None)
    changed = shop_log.copy()
    late = changed["ts"] >= limit
    changed.loc[late, ["dept", "spend"]] = ["fish", 9999.0]
    changed.to_csv(tmp_path / "log.csv", index=False)
    other = train(f"data.path={tmp_path / 'log.csv'}")
    assert other.vocabulary.to_json() == run.vocabulary.to_json()
    assert other.schema == run.schema
    assert other.calibration.to_dict() == run.calibration.to_dict()
    assert all(
        (other.checkpoint["state_dict"][name] == tensor).all() for name, tensor in run.checkpoint["state_dict"].items()
    )
    validation = run.scores["split"] == "val"
    assert other.scores[validation].equals(run.scores[validation])


def test_labels_may_come_from_a_file(train: Callable[..., Run], run: Run, tmp_path: Path) -> None:
    """The run's own labels, given as a file, give the run's own test labels."""
    rng = np.random.default_rng(0)
    rows = run.scores[run.scores["model"] == "recency"]
    customers = np.unique(rows["customer_id"])
    training = pd.DataFrame(
        {"customer": np.tile(customers, 2), "time": np.repeat(["2021-04-01", "2021-05-01"], len(customers))}
    )
    training["label"] = rng.integers(0, 2, len(training))
    given = pd.DataFrame(
        {
            "customer": rows["customer_id"],
            "time": rows["cutoff"].dt.strftime("%Y-%m-%dT%H:%M:%S"),
            "label": rows["label"],
        }
    )
    pd.concat([training, given]).dropna().to_csv(tmp_path / "labels.csv", index=False)
    other = train(f"labels={tmp_path / 'labels.csv'}", "encoder=none", "baselines=[recency]")
    keys = ["customer_id", "cutoff"]
    both = other.scores[other.scores["split"] == "test"].merge(rows, on=keys, suffixes=("", "_run"))
    assert len(both) > 50
    assert (both["label"] == both["label_run"]).all()
