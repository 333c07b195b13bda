"""The Python API: fit, predict, embed, save and load_run from tables and paths, without Hydra in sight."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from clm_dl import Churn, NextItem, load_run
from clm_dl.recommending import item_vectors
from clm_dl.run import Run

TINY = [
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "encoder.hidden_size=8",
    "task.head_size=8",
    "task.steps_per_epoch=null",
    "baselines=[recency]",
]
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["polars", "arrow"])
def test_every_kind_of_table_gives_the_same_run(
    churn: Churn, fitted: Run, shop_log: pd.DataFrame, tmp_path: Path, kind: str
) -> None:
    columns = {name: shop_log[name].to_list() for name in shop_log}
    run = churn.fit(
        pl.DataFrame(columns) if kind == "polars" else pa.table(columns), **ROLES, output_dir=tmp_path / "run"
    )
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


def test_predict_gives_the_scores_of_the_run_again_and_those_of_nobody_else(
    fitted: Run, shop_log: pd.DataFrame
) -> None:
    tested = fitted.scores[(fitted.scores["model"] == "network") & (fitted.scores["split"] == "test")]
    for cutoff, rows in tested.groupby("cutoff"):
        found = fitted.predict(shop_log, cutoff=cutoff).set_index("customer_id")
        assert set(found.index[found["in_population"]]) == set(rows["customer_id"])
        rows = rows.set_index("customer_id")
        for name in ("score", "score_raw"):
            np.testing.assert_allclose(found.loc[rows.index, name], rows[name], atol=1e-6, rtol=0)
        assert found["score"].nunique() > len(found) / 2
        few = shop_log[shop_log["cust"].isin(rows.index[:5])]
        alone = fitted.predict(few, cutoff=cutoff).set_index("customer_id")
        np.testing.assert_allclose(alone["score"], found.loc[alone.index, "score"], atol=1e-6, rtol=0)


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


# --- NextItem

SMALL = [
    *(
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "task.size=8",
        "encoder.hidden_size=8",
        "task.embedding.numeric_size=8",
    ),
    *("baselines=[popular,markov]", "bootstrap=20", "k=5"),
]
COLUMNS = {
    "customer": "cust",
    "time": "ts",
    "item": "sku",
    "amount": "spend",
    "categorical": ["dept", "brand"],
    "numeric": ["discount"],
}


@pytest.fixture(scope="module")
def item_log(small_log: pd.DataFrame) -> pd.DataFrame:
    """The small log with a brand for every sku."""
    return small_log.assign(
        brand=small_log["sku"].str.slice(1).astype(int).mod(3).map({0: "north", 1: "south", 2: "west"})
    )


@pytest.fixture(scope="module")
def recommender(item_log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Run:
    model = NextItem(encoder="gru", repeats="remove", seed=3, overrides=SMALL)
    return model.fit(
        item_log, **COLUMNS, content=["brand", "discount"], output_dir=tmp_path_factory.mktemp("items") / "run"
    )


def test_next_item_gives_a_finished_run_by_the_same_configuration(recommender: Run, item_log: pd.DataFrame) -> None:
    assert recommender.status["state"] == "finished"
    overall = recommender.metrics["split"]["test"]["overall"]
    assert set(overall) == {"network", "popular", "markov"}
    assert 0 < overall["network"]["hr@5"]["value"] <= 1
    assert recommender.config["seed"] == 3
    assert recommender.config["encoder"]["name"] == "gru"
    assert recommender.config["protocol"]["name"] == "leave_one_out"
    assert recommender.config["task"]["content"]["categorical"] == ["brand"]
    assert list(recommender.catalogue.numeric) == ["discount"]
    assert set(recommender.catalogue.item_ids) == set(item_log["sku"])


def test_customers_and_items_have_vectors_in_one_space(recommender: Run, item_log: pd.DataFrame) -> None:
    customers, items = recommender.embed(item_log, cutoff="2020-07-01"), item_vectors(recommender)
    assert customers.shape == (item_log.loc[item_log["ts"] < "2020-07-01", "cust"].nunique(), 2 + 8)
    assert items.shape == (25, 1 + 8)
    first = recommender.recommend(item_log, cutoff="2020-07-01", k=1).set_index("customer_id")
    score_CV = customers.filter(like="z").to_numpy() @ items.filter(like="z").to_numpy().T
    place = items["item_id"].tolist().index(first["item_id"].iloc[0])
    row = customers["customer_id"].tolist().index(first.index[0])
    assert score_CV[row, place] == pytest.approx(first["score"].iloc[0], abs=1e-5)


def test_recommend_to_a_customer_never_seen(recommender: Run) -> None:
    history = {
        "cust": "stranger",
        "ts": pd.to_datetime(["2021-01-01", "2021-01-03", "2021-01-05"]),
        "sku": ["i4", "i6", "i7"],
    }
    events = pd.DataFrame(
        {**history, "spend": 5.0, "dept": "toys", "brand": ["south", "north", "south"], "discount": 0.1}
    )
    table = recommender.recommend(events, k=4)
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert not set(table["item_id"]) & {"i4", "i6", "i7"}  # repeats are removed
    assert set(table["nearest"]) <= {"i4", "i6", "i7"}
    assert set(table["reason"]) <= {"popular", "similar"}
    early = recommender.recommend(events, k=25, cutoff="2021-01-04")
    assert "i7" in set(early["item_id"])  # bought after the cutoff, which nobody knows yet
    northern = recommender.recommend(events, k=3, where={"brand": "north"})["item_id"]
    assert all(int(item[1:]) % 3 == 0 for item in northern)
    with pytest.raises(ValueError, match=r"no item has brand=nroth.*did you mean 'north'"):
        recommender.recommend(events, where={"brand": "nroth"})


def test_repeats_may_be_allowed_and_protocols_chosen(item_log: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    item_log.to_parquet(path)
    overrides = [*SMALL, f"paths.data_dir={tmp_path}", "baselines=[repeat]"]
    model = NextItem(
        encoder="none",
        protocol="global_time",
        repeats="allow",
        overrides=[text for text in overrides if "encoder" not in text],
    )
    run = model.fit(path, customer="cust", time="ts", item="sku", output_dir=tmp_path / "run")
    assert run.metrics["protocol"]["name"] == "global_time"
    assert run.metrics["policy"]["repeats"] == "allow"
    assert run.metrics["split"]["test"]["overall"]["repeat"]["repeat_ratio@5"]["value"] > 0.5
    assert set(run.recommend(item_log)["customer_id"]) == set(item_log["cust"])  # by the best baseline
    for ask in (run.embed, lambda events: run.recommend(events, model="network")):
        with pytest.raises(ValueError, match="encoder=none, so there is no network"):
            ask(item_log)


def test_wrong_arguments_of_next_item_are_one_sentence(item_log: pd.DataFrame, tmp_path: Path) -> None:
    roles = {"customer": "cust", "time": "ts", "item": "sku", "output_dir": tmp_path / "run"}
    with pytest.raises(ValueError, match="repeats must be remove or allow, got 'keep'"):
        NextItem(repeats="keep")
    with pytest.raises(ValueError, match="did you mean 'leave_one_out'"):
        NextItem(protocol="leave_one")
    model = NextItem(overrides=[*SMALL, "k=26"])
    with pytest.raises(
        ValueError,
        match=r"content names the column 'brnd' \(did you mean 'brand'\?\): name it in categorical or numeric",
    ):
        model.fit(item_log, **roles, categorical=["brand"], content=["brnd"])
    with pytest.raises(ValueError, match="no role 'ordre'"):
        model.fit(item_log, **roles, ordre="ts")
    with pytest.raises(ValueError, match="k must be from 1 to the 25 items"):
        model.fit(item_log, **roles)
    with pytest.raises(ValueError, match=r"'skuu' is not a column .*did you mean 'sku'"):
        model.fit(item_log, **{**roles, "item": "skuu"})
    assert not (tmp_path / "run" / "config.yaml").exists()
