"""A finished run directory: every file, the shape of metrics.json, one seed one result, and a checkpoint that is plain
data.
"""

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from clm_dl.doctor import main as doctor
from clm_dl.errors import UserError
from clm_dl.evaluate import main as evaluate
from clm_dl.evaluate import main as evaluate_command
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.run import Run, load_run

FILES = (
    "metrics.json",
    "scores.parquet",
    "config.yaml",
    "timing.json",
    "versions.json",
    "vocabulary.json",
    "schema.json",
    "status.json",
)
METRICS = ("auroc", "auprc", "auprc_stay", "log_loss", "brier", "ece", "lift@10", "accuracy", "f1")
MODELS = {"network", "recency", "logistic"}


def test_has_every_file(run: Run) -> None:
    for name in (
        *FILES,
        "report.html",
        "model_card.md",
        "checkpoints/model.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    ):
        assert (run.path / name).stat().st_size > 0, name
    assert list(run.path.glob("events.out.tfevents.*"))
    assert not [path.name for path in run.path.rglob("*.tmp*")]
    assert run.status == {"version": 1, "state": "finished", "reason": None}


def test_config_is_resolved_and_says_all_that_was_asked_for(run: Run) -> None:
    text = (run.path / "config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert config["encoder"]["hidden_size"] == 8
    assert config["baselines"] == ["recency", "logistic"]
    assert config["seed"] == 0
    assert Path(config["paths"]["output_dir"]) == run.path


def test_metrics_have_their_shape(run: Run) -> None:
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["task"] == "churn"
    assert len(metrics["fingerprint"]) == 32
    for split in ("test", "val"):
        parts = metrics["split"][split]
        assert len(parts["per_cutoff"]) == 2
        for models in (parts["overall"], parts["recent"], *parts["per_cutoff"].values()):
            assert set(models) == MODELS
            for figures in models.values():
                assert set(METRICS) <= set(figures)
                assert {"value", "low", "high"} == set(figures["auroc"])
                assert figures["auroc"]["low"] <= figures["auroc"]["value"] <= figures["auroc"]["high"]
    assert set(metrics["difference"]["test"]) == {"network - recency", "network - logistic"}
    auroc = {name: figures["auroc"]["value"] for name, figures in metrics["split"]["test"]["overall"].items()}
    difference = metrics["difference"]["test"]["network - recency"]["auroc"]
    assert difference["value"] == pytest.approx(auroc["network"] - auroc["recency"])
    assert difference["low"] < difference["value"] < difference["high"]


def test_data_counts(run: Run, shop_log: pd.DataFrame) -> None:
    data = run.metrics["data"]
    assert data["rows_in"] == len(shop_log) == data["kept"] + data["quarantined"] + data["duplicates"]
    assert data["events"] == data["kept"]
    assert data["customers"] == shop_log["cust"].nunique()
    network = run.scores[run.scores["model"] == "network"]
    assert {split: data["snapshots"][split] for split in ("val", "test")} == network["split"].value_counts().to_dict()
    assert data["snapshots"]["train"] > 1000


def test_scores_have_their_columns_and_every_model_the_same_snapshots(run: Run) -> None:
    table = pq.read_table(run.path / "scores.parquet")
    assert str(table.schema.field("cutoff").type) == "timestamp[us, tz=UTC]"
    scores = run.scores
    columns = ["customer_id", "cutoff", "split", "model", "task", "horizon", "score", "score_raw", "label", "recent"]
    assert set(columns) <= set(scores.columns)
    assert set(scores["model"]) == MODELS
    assert set(scores["split"]) == {"val", "test"}
    assert set(scores["task"]) == {"churn"}
    assert set(scores["horizon"]) == {28.0}
    assert scores["score"].between(0, 1).all()
    assert set(scores["label"].dropna()) == {0.0, 1.0}
    keys = [part[["customer_id", "cutoff", "label"]].reset_index(drop=True) for _, part in scores.groupby("model")]
    for other in keys[1:]:
        pd.testing.assert_frame_equal(keys[0], other)
    assert not keys[0].duplicated(["customer_id", "cutoff"]).any()


def test_every_model_is_calibrated_on_the_newest_validation_cutoff_alone(run: Run) -> None:
    """Not on training; what older validation cutoffs do is choose: fitted again it gives the scores of all rows."""
    for model, rows in run.scores.groupby("model"):
        validation = rows[(rows["split"] == "val") & rows["label"].notna()]
        assert validation["cutoff"].nunique() > 1
        cutoff, newest = validation["cutoff"], validation["cutoff"] == validation["cutoff"].max()
        expected = PlattCalibrator().fit_over(
            validation["score_raw"], validation["label"], cutoff=cutoff.astype("int64"), newest=newest
        )
        np.testing.assert_allclose(rows["score"], expected.predict(rows["score_raw"]), rtol=1e-6, err_msg=str(model))
        if model == "network":
            slope, intercept = run.calibration.slope, run.calibration.intercept
            assert (slope, intercept) == pytest.approx((expected.slope, expected.intercept), rel=1e-6)
        assert run.metrics["calibration"][model] == expected.told
        assert f"{model}: {expected.told}" in (run.path / "model_card.md").read_text()
        assert expected.told in (run.path / "report.html").read_text()


@pytest.mark.slow
def test_same_seed_same_metrics_bit_for_bit_and_another_seed_others(train: Callable[..., Run], run: Run) -> None:
    again = train()
    assert again.path != run.path
    assert (again.path / "metrics.json").read_bytes() == (run.path / "metrics.json").read_bytes()
    assert again.scores.equals(run.scores)
    other = train("seed=1")
    assert other.metrics["fingerprint"] == run.metrics["fingerprint"]
    overall = other.metrics["split"]["test"]["overall"]
    assert overall["network"]["auroc"]["value"] != run.metrics["split"]["test"]["overall"]["network"]["auroc"]["value"]
    assert (
        overall["logistic"]["auroc"]["value"] == run.metrics["split"]["test"]["overall"]["logistic"]["auroc"]["value"]
    )


def test_model_checkpoint_is_plain_data(run: Run) -> None:
    checkpoint = torch.load(run.path / "checkpoints" / "model.ckpt", weights_only=True)
    assert set(checkpoint) == {
        "version",
        "task",
        "hyper_parameters",
        "state_dict",
        "vocabulary",
        "schema",
        "calibration",
    }
    json.dumps({key: value for key, value in checkpoint.items() if key != "state_dict"})
    assert json.loads((run.path / "vocabulary.json").read_text()) == checkpoint["vocabulary"]
    assert json.loads((run.path / "schema.json").read_text()) == checkpoint["schema"]


def test_lightning_checkpoints_are_plain_data_too(run: Run) -> None:
    for name in ("best", "last"):
        assert torch.load(run.path / "checkpoints" / f"{name}.ckpt", weights_only=True)["hyper_parameters"]


def test_history_holds_the_training_curve(run: Run) -> None:
    history = run.history
    assert list(history.columns) == ["step", "name", "value"]
    assert {"train/loss", "val/log_loss", "val/auroc"} <= set(history["name"])
    assert (history["name"] == "val/log_loss").sum() == 2  # one an epoch


def test_timing_covers_every_part(run: Run) -> None:
    timing = json.loads((run.path / "timing.json").read_text())
    assert {"prepare", "snapshots", "network", "baselines", "metrics", "tensorboard"} <= set(timing)
    assert all(seconds >= 0 for seconds in timing.values())


@pytest.mark.slow
def test_network_alone_and_baselines_alone(train: Callable[..., Run]) -> None:
    alone = train("encoder=none", "baselines=[base_rate,recency]")
    assert set(alone.scores["model"]) == {"base_rate", "recency"}
    assert alone.metrics["difference"] == {}
    assert not (alone.path / "checkpoints" / "model.ckpt").exists()
    assert set(alone.predict(cutoff="2021-09-01")["model"]) == {"recency"}  # the best
    with pytest.raises(ValueError, match="encoder=none, so there is no network"):
        alone.embed(cutoff="2021-09-01")
    network = train("baselines=none", "trainer.max_epochs=1")
    assert set(network.scores["model"]) == {"network"}
    assert network.metrics["difference"]["test"] == {}


OLD = (
    *("metrics.json", "scores.parquet", "evaluation.json", "backtest.json", "timing.json", "report.html"),
    *("model_card.md", "items.parquet", "cards.json", "vocabulary.json", "schema.json", "versions.json"),
    *("hparams.yaml", "events.out.tfevents.1.old.0", "projector_config.pbtxt", "00000/customers/tensors.tsv"),
    *(f"checkpoints/{name}.ckpt" for name in ("model", "best", "last")),
    *("baselines/churn/logistic.skops", "fold_1/vocabulary.json", "fold_1/checkpoints/model.ckpt"),
)


def test_nothing_of_an_earlier_run_is_left_even_where_training_fails(train: Callable[..., Run], tmp_path: Path) -> None:
    for name in (*OLD, "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    (tmp_path / "status.json").write_text(json.dumps({"version": 1, "state": "failed", "reason": "power cut"}))
    with pytest.raises(ValueError, match="not finite"):
        train("task.optimizer.lr=1e30", "task.schedule.name=constant", "baselines=none", f"paths.output_dir={tmp_path}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.read_bytes() == b"old"] == ["notes.txt"]


@pytest.mark.slow
def test_folds_keep_their_test_periods_apart(train: Callable[..., Run], here: Callable[..., None]) -> None:
    folded = train("snapshots.folds=2", "trainer.max_epochs=1")
    test = folded.scores[(folded.scores["split"] == "test") & (folded.scores["model"] == "network")]
    assert test["cutoff"].nunique() == 4
    assert not test.duplicated(["customer_id", "cutoff"]).any()
    assert len(folded.metrics["fingerprint"].split("-")) == 2
    assert (folded.path / "fold_1" / "checkpoints" / "model.ckpt").is_file()
    here(evaluate_command, f"run={folded.path}")  # the network of the newest fold again, of the others as it was


@pytest.mark.slow
def test_scores_come_out_again_in_a_fresh_process_elsewhere(run: Run, tmp_path: Path) -> None:
    moved = run.save(tmp_path / "moved")
    held_out = run.scores[(run.scores["model"] == "network") & (run.scores["cutoff"] == run.scores["cutoff"].max())]
    words = [f"run={moved.path}", f"cutoff={held_out['cutoff'].iloc[0].isoformat()}", "output=again.parquet"]
    command = Path(sys.executable).parent / "clm-predict"
    subprocess.run([command, *words], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    predicted = pd.read_parquet(tmp_path / "again.parquet").set_index("customer_id")
    expected = held_out.set_index("customer_id")
    assert len(expected) > 50
    assert set(predicted.index[predicted["in_population"]]) == set(expected.index)
    np.testing.assert_allclose(predicted["score"].loc[expected.index], expected["score"], atol=1e-6, rtol=0)


def test_validation_scores_come_out_again_too(run: Run) -> None:
    held_out = run.scores[(run.scores["model"] == "network") & (run.scores["cutoff"] == run.scores["cutoff"].min())]
    predicted = run.predict(cutoff=held_out["cutoff"].iloc[0]).set_index("customer_id")
    expected = held_out.set_index("customer_id")
    np.testing.assert_allclose(predicted["score"].loc[expected.index], expected["score"], atol=1e-6, rtol=0)


def test_save_refuses_a_folder_with_something_in_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ValueError, match="not an empty folder"):
        run.save(tmp_path)


def test_a_run_of_another_version_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    old = run.save(tmp_path / "old")
    (old.path / "status.json").write_text(json.dumps(run.status | {"version": 0}))
    with pytest.raises(ValueError, match="version 0, this clm_dl reads version 1"):
        load_run(old.path)
    with pytest.raises(FileNotFoundError, match="no run directory"):
        load_run(tmp_path)


def test_the_manifest_has_every_file(run: Run) -> None:
    manifest = json.loads((run.path / "manifest.json").read_text())
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert manifest["version"] == 1
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert {*FILES, "report.html", "model_card.md", "checkpoints/model.ckpt"} <= files
    for name, file in manifest["files"].items():
        content = (run.path / name).read_bytes()
        assert (file["size"], file["crc32"]) == (len(content), zlib.crc32(content)), name


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
@pytest.mark.parametrize("name", ["config.yaml", "status.json", "metrics.json", "scores.parquet", "manifest.json"])
def test_damage_is_one_sentence_where_a_file_is_read(run: Run, tmp_path: Path, name: str, damage: str) -> None:
    copy = run.save(tmp_path / "copy").path
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "missing":
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    if (name, damage) == ("manifest.json", "missing"):  # as runs of older versions
        assert Run(copy).metrics == run.metrics
        return
    with pytest.raises(UserError, match=rf"{name}.*(again|copy)") as error:
        _ = (Run(copy).metrics, Run(copy).scores)
    assert "\n" not in str(error.value)


def test_a_damaged_curve_or_checkpoint_to_go_on_from_is_said(
    train: Callable[..., Run], run: Run, tmp_path: Path
) -> None:
    copy = run.save(tmp_path / "copy").path
    for path in (*copy.glob("events.out.tfevents.*"), copy / "checkpoints" / "last.ckpt"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"tfevents.* is corrupt"):
        assert len(Run(copy).history)
    for path in copy.glob("events.out.tfevents.*"):
        path.unlink()
    with pytest.raises(UserError, match=r"has no events\.out\.tfevents.* any more"):
        assert len(Run(copy).history)
    with pytest.raises(UserError, match=r"last\.ckpt is corrupt"):
        train(f"ckpt={copy / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=3")


def test_what_is_written_later_goes_into_the_manifest(
    run: Run, here: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = run.save(tmp_path / "copy").path
    here(evaluate, f"run={copy}", "bootstrap=5")
    here(evaluate, f"run={copy}", "bootstrap=5", "cutoffs=rolling")
    files = json.loads((copy / "manifest.json").read_text())["files"]
    for name in ("evaluation.json", "backtest.json", "report.html"):
        assert files[name]["crc32"] == zlib.crc32((copy / name).read_bytes())
    assert "unseen" not in capsys.readouterr().out
    here(doctor, f"run={copy}")
    (copy / "manifest.json").unlink()
    here(evaluate, f"run={copy}", "bootstrap=5")
    assert "note: " in capsys.readouterr().out
    assert not (copy / "manifest.json").exists()


def test_a_copy_holds_nothing_that_a_link_leads_to(run: Run, tmp_path: Path) -> None:
    copy = run.save(tmp_path / "copy")
    (tmp_path / "key").write_text("secret")
    link = copy.path / "checkpoints" / "notes.txt"
    link.symlink_to(tmp_path / "key")
    with pytest.raises(UserError, match=r"notes\.txt leads elsewhere"):
        copy.save(tmp_path / "again")
    assert not (tmp_path / "again").exists()
    link.unlink()
    assert (copy.save(tmp_path / "again").path / "scores.parquet").exists()


def test_the_end_of_an_input_is_its_own_and_strays_behind_it_are_no_history(run: Run, shop_log: pd.DataFrame) -> None:
    """Not that of the log that the run was trained on."""
    stray = pd.concat([shop_log, shop_log.iloc[[0]].assign(ts=pd.Timestamp("2099-12-31"))], ignore_index=True)
    with pytest.raises(UserError, match="would be the end of the data"):
        run.predict(stray)
    known, wanted = run.predict(stray, data={"end": "2021-10-20"}), run.predict(shop_log, cutoff="2021-10-20")
    assert known["cutoff"].unique().tolist() == [pd.Timestamp("2021-10-20", tz="UTC")]
    np.testing.assert_array_equal(known["score"], wanted["score"])
