"""The frozen network on later cutoffs: which ones, what each is recalibrated on, what is written and refused."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.config import compose
from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.experiment.backtest import backtest, warning
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.run_files import BACKTEST, read_results
from clm_dl.run import Run
from clm_dl.tasks.churn.metrics import METRICS
from clm_dl.visual.drift import rows

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def store(run: Run) -> EventStore:
    return open_store(run.config["data"], run.config["paths"])


@pytest.fixture(scope="module")
def found(run: Run, store: EventStore) -> dict:
    return backtest(run.trained, store, "rolling", resamples=10)


def test_rolling_cutoffs_begin_when_the_last_training_label_is_known(run: Run, store: EventStore, found: dict) -> None:
    span = run.config["snapshots"]["horizon_days"] + run.config["snapshots"]["gap_days"]
    dates = pd.to_datetime([at["cutoff"] for at in found["cutoffs"]])
    assert len(dates) > 1
    assert found["cutoffs"][0]["days"] >= span
    assert dates[-1] + pd.Timedelta(days=span) == pd.Timestamp(store.end, unit="us")
    assert set(np.diff(dates)) == {np.timedelta64(int(run.config["snapshots"]["every_days"]), "D")}


def test_a_cutoff_is_recalibrated_on_what_was_known_by_then_alone(run: Run, found: dict) -> None:
    span = pd.Timedelta(days=run.config["snapshots"]["horizon_days"] + run.config["snapshots"]["gap_days"])
    sources = {at["cutoff"]: at["recalibrated_on"] for at in found["cutoffs"]}
    assert any(sources.values())
    for cutoff, source in sources.items():
        assert source is None or pd.Timestamp(source) + span <= pd.Timestamp(cutoff)
        models = found["metrics"]["split"]["test"]["per_cutoff"][cutoff]
        assert models["network"]["auroc"]["value"] == pytest.approx(
            models["recalibrated"]["auroc"]["value"]
        )  # ranks stay
        if source is None:
            assert models["network"] == models["recalibrated"]


def test_the_frozen_scores_are_those_of_the_run(run: Run, store: EventStore) -> None:
    dates = run.metrics["split"]["test"]["per_cutoff"]
    found = backtest(run.trained, store, list(dates), resamples=10)
    for date, models in dates.items():
        again = found["metrics"]["split"]["test"]["per_cutoff"][date]["network"]
        assert again["ece"]["value"] == pytest.approx(models["network"]["ece"]["value"], abs=1e-6)
        assert again["auroc"]["value"] == pytest.approx(models["network"]["auroc"]["value"], abs=1e-6)


def test_inputs_that_moved_most_come_first(found: dict) -> None:
    for at in found["cutoffs"]:
        moved = list(at["psi"]["inputs"].values())
        assert moved == sorted(moved, reverse=True)
        assert at["psi"]["score"] >= 0


def test_an_ece_that_doubled_is_said_aloud(found: dict) -> None:
    newest = found["metrics"]["split"]["test"]["per_cutoff"][found["cutoffs"][-1]["cutoff"]]["network"]["ece"]["value"]
    assert warning({**found, "test_error": newest / 2.01}, METRICS) is not None
    assert warning({**found, "test_error": newest / 1.99}, METRICS) is None


@pytest.mark.slow
def test_the_command_writes_it_and_the_report_shows_it(
    train: Callable[..., Run], call: Callable[..., str], tmp_path: Path
) -> None:
    run = train("baselines=[recency]", "seed=7", f"paths.output_dir={tmp_path / 'run'}")
    shown = call(BIN / "clm-evaluate", f"run={run.path}", "cutoffs=rolling", "bootstrap=10", cwd=tmp_path)
    found = json.loads((run.path / BACKTEST).read_text())
    assert all(at["cutoff"] in shown for at in found["cutoffs"])
    report = (run.path / "report.html").read_text()
    assert "Later cutoffs" in report
    assert len(re.findall(found["cutoffs"][-1]["cutoff"], report)) > 0
    [results] = read_results(run.path)
    assert len(rows(results)[1]) == len(found["cutoffs"])


@pytest.mark.parametrize(
    ("cutoffs", "message"),
    [
        ("sometimes", "rolling or a list"),
        (["2000-01-01"], "cannot be backtested"),
        (["2999-01-01"], "cannot be backtested"),
    ],
)
def test_wrong_cutoffs_are_refused_in_one_sentence(run: Run, store: EventStore, cutoffs: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backtest(run.trained, store, cutoffs)  # type: ignore[arg-type]


def test_predictions_are_recalibrated_on_the_newest_cutoff_whose_labels_are_known(
    run: Run, store: EventStore, shop_log: pd.DataFrame
) -> None:
    """On everyone in the population one label window before the end of the log, and on what became of them since."""
    end, horizon = pd.Timestamp(store.end, unit="us"), pd.Timedelta(days=run.config["snapshots"]["horizon_days"])
    known = run.predict(shop_log, cutoff=(end - horizon).isoformat())
    known = known[known["in_population"]]
    stayed = shop_log.loc[(shop_log["ts"] >= end - horizon) & (shop_log["ts"] < end), "cust"].unique()
    expected = PlattCalibrator().fit(known["score_raw"], ~known["customer_id"].isin(stayed))
    table = run.predict(recalibrate=True)
    np.testing.assert_allclose(table["score"], expected.predict(table["score_raw"]), rtol=1e-4)


def test_no_label_window_of_a_recalibration_reaches_beyond_the_cutoff(run: Run, shop_log: pd.DataFrame) -> None:
    """Behind it the input is empty, however late its end was said to be: whoever is silent there is not lost."""
    as_of = {"cutoff": "2021-09-01", "recalibrate": True}
    early = run.predict(shop_log, **as_of, data={"end": "2021-09-01"})
    late = run.predict(shop_log, **as_of, data={"end": "2021-09-20"})
    pd.testing.assert_frame_equal(early, late)


@pytest.mark.slow
def test_no_recalibration_looks_into_the_future_of_a_simulated_log(tmp_path: Path) -> None:
    words = ["experiment=churn_simulator", "encoder=none", "baselines=[recency]", "bootstrap=5"]
    words += ["data.num_customers=300", f"paths.data_dir={tmp_path}", f"paths.output_dir={tmp_path / 'run'}"]
    simulated = Run(run_experiment(compose("train", words), log=lambda text: None))
    cutoff, store = pd.Timestamp("2020-09-01"), open_store(simulated.config["data"], simulated.config["paths"])
    before = cutoff - pd.Timedelta(days=simulated.config["snapshots"]["horizon_days"])
    known = simulated.predict(cutoff=before.isoformat())
    known = known[known["in_population"]]
    time = pd.to_datetime(np.asarray(store.time), unit="us")
    customer = store.customer_ids[np.repeat(np.arange(store.num_customers), np.diff(store.offsets))]
    stayed = np.unique(customer[(time >= before) & (time < cutoff)])
    expected = PlattCalibrator().fit(known["score_raw"], ~known["customer_id"].isin(stayed))
    table = simulated.predict(cutoff=cutoff.isoformat(), recalibrate=True)
    np.testing.assert_allclose(table["score"], expected.predict(table["score_raw"]), rtol=1e-4)


def test_recalibrated_predictions_keep_their_ranks(run: Run) -> None:
    frozen, recalibrated = run.predict(), run.predict(recalibrate=True)
    assert np.array_equal(frozen["score_raw"], recalibrated["score_raw"])
    assert not np.allclose(frozen["score"], recalibrated["score"])
    assert np.array_equal(frozen["score"].rank(), recalibrated["score"].rank())
