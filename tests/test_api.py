"""The Python API: fit, predict, embed, save and load_run from tables and paths, without Hydra in sight."""

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clm_dl import Churn, load_run
from clm_dl.run import Run

TINY = ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "encoder.hidden_size=8", "task.head_size=8", "baselines=[recency]"]
ROLES = {"customer": "cust", "time": "ts", "amount": "spend", "categorical": ["dept"]}


@pytest.fixture(scope="module")
def churn() -> Churn:
    return Churn(encoder="gru", horizon_days=28, active_days=56, seed=3, overrides=[*TINY, "bootstrap=20"])


@pytest.fixture(scope="module")
def fitted(churn: Churn, shop_log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return churn.fit(shop_log, **ROLES, output_dir=tmp_path_factory.mktemp("api") / "run")


def test_fit_gives_a_finished_run(fitted: Run, shop_log: pd.DataFrame) -> None:
    assert fitted.status["state"] == "finished"
    assert fitted.metrics["split"]["test"]["overall"]["network"]["auroc"]["value"] > 0.3
    assert fitted.config["encoder"]["name"] == "gru"
    assert fitted.config["seed"] == 3
    assert fitted.config["snapshots"]["active_days"] == 56
    assert (fitted.path / "report.html").is_file()


@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_every_kind_of_table_gives_the_same_run(churn: Churn, fitted: Run, shop_log: pd.DataFrame, tmp_path: Path, kind: str) -> None:
    columns = {name: shop_log[name].to_list() for name in shop_log}
    run = churn.fit(pl.DataFrame(columns) if kind == "polars" else pa.table(columns), **ROLES, output_dir=tmp_path / "run")
    assert run.metrics == fitted.metrics


def test_a_path_gives_the_same_run_and_progress_is_shown(
    fitted: Run, shop_log: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop_log.to_parquet(tmp_path / "log.parquet")
    options = [*TINY, "bootstrap=20", f"paths.data_dir={tmp_path / 'data'}", "trainer.enable_progress_bar=true"]
    churn = Churn(encoder="gru", active_days=56, seed=3, overrides=options)
    run = churn.fit(tmp_path / "log.parquet", **ROLES, output_dir=tmp_path / "run")
    assert run.metrics == fitted.metrics
    output = capsys.readouterr()
    assert "Epoch 0" in output.out + output.err
    assert "rows in" in output.out


def test_predict_and_embed(fitted: Run, shop_log: pd.DataFrame) -> None:
    scores = fitted.predict(shop_log, cutoff="2021-09-01")
    assert {"customer_id", "score", "in_population"} <= set(scores.columns)
    assert set(scores["customer_id"]) == set(shop_log.loc[shop_log["ts"] < "2021-09-01", "cust"])
    vectors = fitted.embed(shop_log, cutoff="2021-09-01")
    assert vectors["customer_id"].tolist() == scores["customer_id"].tolist()
    assert vectors.shape == (len(scores), 2 + 8)
    newest = fitted.predict(shop_log)  # as of the end of the log: its last event lies before it
    assert set(newest["customer_id"]) == set(shop_log["cust"])


def test_predict_of_a_run_from_a_table_needs_a_table(fitted: Run) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=r"data\.path|table"):
        fitted.predict(cutoff="2021-09-01")


def test_save_and_load(fitted: Run, shop_log: pd.DataFrame, tmp_path: Path) -> None:
    saved = fitted.save(tmp_path / "mine")
    loaded = load_run(tmp_path / "mine")
    assert saved.path == loaded.path
    assert loaded.metrics == fitted.metrics
    assert loaded.scores.equals(fitted.scores)
    assert loaded.history.equals(fitted.history)
    expected = fitted.predict(shop_log, cutoff="2021-09-01")
    pd.testing.assert_frame_equal(loaded.predict(shop_log, cutoff="2021-09-01"), expected)


def test_wrong_arguments_are_one_sentence(churn: Churn, shop_log: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no role 'amuont'"):
        churn.fit(shop_log, customer="cust", time="ts", amuont="spend")
    with pytest.raises(ValueError, match="did you mean 'cust'"):
        churn.fit(shop_log, customer="custt", time="ts", output_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="did you mean 'lstm'"):
        Churn(encoder="lsmt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        churn.fit("nowhere.csv", customer="cust", time="ts", output_dir=tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
