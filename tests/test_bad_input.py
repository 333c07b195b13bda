"""Bad input: one sentence, exit code ≠ 0, no traceback, and nothing half-written."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from clm_dl.data.open import open_store, store_path
from clm_dl.run import Run, load_run

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def refusal(train: Callable[..., Run], tmp_path: Path) -> Callable[..., str]:
    """Train into fresh folders, which must not come to be; the one sentence of the error."""

    def check(*overrides: str, log: pd.DataFrame | None = None, error: type[Exception] = ValueError) -> str:
        if log is not None:
            log.to_csv(tmp_path / "log.csv", index=False)
            overrides = (*overrides, f"data.path={tmp_path / 'log.csv'}", f"paths.data_dir={tmp_path / 'data'}")
        with pytest.raises(error) as raised:
            train(*overrides, f"paths.output_dir={tmp_path / 'run'}")
        assert not (tmp_path / "run").exists()
        sentence = str(raised.value)
        assert sentence
        assert "\n" not in sentence
        return sentence

    return check


@pytest.fixture
def refused(train: Callable[..., Run], tmp_path: Path) -> Callable[..., str]:
    return refusal(train, tmp_path)


@pytest.fixture
def refused_ranked(train_ranked: Callable[..., Run], tmp_path: Path) -> Callable[..., str]:
    return refusal(train_ranked, tmp_path)


def stores(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("data/stores/*")]


# --- the log


def test_missing_file(refused: Callable[..., str], tmp_path: Path) -> None:
    sentence = refused("data.path=nowhere.csv", f"paths.data_dir={tmp_path / 'data'}", error=FileNotFoundError)
    assert "nowhere.csv" in sentence
    assert not stores(tmp_path)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.roles.customer=custt", "'cust'"),
        ("data.roles.amount=spendd", "'spend'"),
        ("data.categorical=[depd]", "'dept'"),
    ],
)
def test_wrong_column_suggests_the_nearest(
    refused: Callable[..., str], shop_log: pd.DataFrame, tmp_path: Path, override: str, named: str
) -> None:
    sentence = refused(override, log=shop_log)
    assert f"did you mean {named}" in sentence
    assert not stores(tmp_path)


def test_a_name_where_a_list_is_wanted(refused: Callable[..., str], shop_log: pd.DataFrame) -> None:
    assert "data.categorical must be a list, got 'dept': write data.categorical=[dept]" in refused(
        "data.categorical=dept", log=shop_log
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bootstrap=0", "bootstrap is the number of resamples and must be an integer ≥ 1"),
        ("threshold=7", "threshold is a probability and must be in [0, 1], got 7"),
        ("trainer.max_epochs=0", "trainer.max_epochs must be ≥ 1"),
        ("task.optimizer.lr=-1", "task.optimizer.lr must be ≥ 0, got -1"),
        ("task.dropout=1.5", "task.dropout is a share and must be in [0, 1), got 1.5"),
        ("encoder.hidden_size=0", "encoder.hidden_size must be ≥ 1, got 0"),
        ("encoder.num_layers=0", "encoder.num_layers must be ≥ 1, got 0"),
        ("trainer.accelerator=tpu", "choose other options of trainer"),
    ],
)
def test_numbers_that_no_run_can_be_made_with(refused: Callable[..., str], override: str, message: str) -> None:
    assert message in refused(override)


def test_empty_log(refused: Callable[..., str], shop_log: pd.DataFrame, tmp_path: Path) -> None:
    assert "no events" in refused(log=shop_log.iloc[:0])
    assert not stores(tmp_path)


def test_all_rows_quarantined(refused: Callable[..., str], shop_log: pd.DataFrame, tmp_path: Path) -> None:
    sentence = refused(log=shop_log.assign(ts="yesterday"))
    assert "quarantined" in sentence
    assert f"{len(shop_log)}" in sentence
    assert not stores(tmp_path)


# --- snapshots


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["snapshots.horizon_days=0"], "snapshots.horizon_days must be > 0 days, got 0"),
        (["snapshots.horizon_days=-7"], "snapshots.horizon_days must be > 0 days, got -7"),
        (["snapshots.horizon_days=4000"], "no snapshot matured"),
        (["snapshots.test=[2031-01-01]"], "outside the data"),
        (["snapshots.train=[1999-01-01]"], "outside the data"),
        (["snapshots.test=[2021-10-20]"], "no test snapshot matured"),
        (["snapshots.test=[2021-05-01]", "snapshots.val=[2021-04-20]"], "splits overlap"),
        (["snapshots.active_days=0.0001"], "no customer is in the population"),
        (["snapshots.horizon_days=1", "snapshots.every_days=3"], None),
    ],
)
def test_snapshots_that_cannot_be(
    refused: Callable[..., str], train: Callable[..., Run], overrides: list[str], message: str | None
) -> None:
    if message is None:  # the same road with good values
        assert train(*overrides, "encoder=none", "baselines=[base_rate]").status["state"] == "finished"
    else:
        assert message in refused(*overrides)


def test_one_class_only_in_a_split(refused: Callable[..., str]) -> None:
    rng = np.random.default_rng(0)
    day = np.concatenate([np.arange(0, 300, 2) + rng.random() for _ in range(20)])  # nobody ever leaves
    log = pd.DataFrame({"cust": np.repeat([f"c{i}" for i in range(20)], 150), "spend": 1.0, "dept": "food"})
    log["ts"] = (pd.Timestamp("2021-01-01") + pd.to_timedelta(day, unit="D")).round("s")
    assert "one class only in train" in refused(log=log)


# --- options


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=null"], "seed must be an integer"),
        (["seed=-1"], "seed must be an integer from 0 to 2^32 − 1, got -1"),
        (["seed=1.5"], "got 1.5"),
        (["seed=true"], "got True"),
        (["seed=one"], "got 'one'"),
        (["sede=1"], "did you mean 'seed'"),
        (["encoder=lsmt"], "did you mean 'lstm'"),
        (["task.poolin=max"], "did you mean 'task.pooling'"),
        (["task.pooling=maxx"], "maxx"),
        (["task.schedule.name=linear"], "task.schedule.name must be constant, cosine or one_cycle, got 'linear'"),
        (["task.positive_weight=-1"], "task.positive_weight must be > 0"),
        (["baselines=[lightgmb]"], "did you mean 'lightgbm'"),
        (["baselines=forrest"], "did you mean 'forest'"),
        (["impute=medain"], "medain"),
        (["imbalance=smoot"], "smoot"),
        (["objective=auc"], "objective must be one of auroc"),
        (["encoder=none", "baselines=none"], "nothing to train"),
        (["labels=events"], "did you mean 'event'"),
        (["trainer.accelerator=abacus"], "abacus"),
        (["task.batch_size=0"], "batch_size must be at least 1"),
        (["baseline.logistic._target_=os.system"], r"trusted=[os]"),
        (["data.roles.custmer=cust"], "did you mean 'data.roles.customer'"),
    ],
)
def test_options_that_cannot_be(refused: Callable[..., str], overrides: list[str], message: str) -> None:
    assert message in refused(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sequence.token=word"], "sequence.token must be order or line, got 'word'"),
        (["sequence.max_tokens=0"], "sequence.max_tokens must be at least 1"),
        (["sequence.max_lines=0"], "sequence.max_lines must be at least 1"),
        (["vocabulary.min_count=0"], "vocabulary.min_count must be at least 1"),
        (["task.batch_size=0"], "task.batch_size must be at least 1"),
        (["task.steps_per_epoch=0"], "task.steps_per_epoch must be at least 1"),
        (["task.cutoffs_per_customer=0"], "task.cutoffs_per_customer must be at least 1"),
        (["task.pooling=mx"], "did you mean 'max'"),
        (["task.head_size=-1"], "task.head_size is a width and must be ≥ 0"),
        (["encoder.num_layers=0"], "encoder.num_layers must be ≥ 1"),
        (["trainer.accelerator=abacus"], "abacus"),
        (["+trainer.foo=1"], "unexpected keyword argument 'foo'"),
        (["task=survival", "task.horizons_days=[56,28]"], "task.horizons_days must ascend"),
        (["ckpt=nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
        (["init=nowhere"], "nowhere is no run directory"),
        (["logger=wandb"], "pip install 'clm-dl[wandb]'"),
    ],
)
def test_what_needs_no_data_is_said_before_they_are_read(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", False)
    assert message in refused("data.path=no_log.csv", *overrides)


# --- recommendation


def test_a_log_without_items_has_nothing_to_recommend(refused_ranked: Callable[..., str]) -> None:
    log = pd.DataFrame(
        {"cust": np.repeat(["a", "b"], 5), "ts": pd.date_range("2021-01-01", periods=10), "spend": 1.0, "dept": "food"}
    )
    sentence = refused_ranked("data.roles.item=null", "data.roles.order=null", "data.static=[]", log=log)
    assert "has no items to recommend: set data.roles.item" in sentence


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["protocol=leave_one"], "did you mean 'leave_one_out'"),
        (["protocol.min_events=2"], "protocol.min_events must be at least 3"),
        (["protocol=global_time", "protocol.val=2031-01-01"], "must ascend within the data"),
        (["protocol=global_time", "protocol.target=every"], "protocol.target must be"),
        (["protocol=rolling", "snapshots.folds=2"], "task=next_item has a single fold, got snapshots.folds=2"),
        (["policy.repeats=alow"], "did you mean 'allow'"),
        (["policy.repeat=allow"], "did you mean 'policy.repeats'"),
        (["task.objective=nxt"], "task.objective must be next or masked, got 'nxt'"),
        (["encoder=bert4rec"], "encoder=bert4rec goes with task.objective=masked"),
        (["task=next_order"], "task=next_order reads orders, got sequence.token=line: set sequence=order"),
        (["sequence.max_tokens=1"], "sequence.max_tokens must be at least 2"),
        (["k=61"], "k must be from 1 to the 60 items of the catalogue, got 61"),
        (["k=0"], "k must be ≥ 1, got 0"),
        (["objective=auroc"], "objective must be one of hr@10, ndcg@10"),
        (["task.content.categorical=[dpet]"], "did you mean 'dept'"),
        (["task.content.vectors=nowhere.parquet"], "no file of item vectors at nowhere.parquet"),
        (["task.loss.name=softmx"], "ranking loss must be one of"),
        (["baselines=[lightgbm]"], "no baseline 'lightgbm' of task next_item: lightgbm answers churn"),
        (["baselines=[network_repeat]"], "network_repeat combines network, repeat, but the run has network"),
        (["encoder=none", "baselines=[blend]"], "the baseline blend combines other models, but the run has none"),
        (["baseline.blend.method=blnd", "baselines=[popular,blend]"], "did you mean 'blend'"),
    ],
)
def test_recommendation_that_cannot_be(refused_ranked: Callable[..., str], overrides: list[str], message: str) -> None:
    error = FileNotFoundError if "nowhere" in message else ValueError
    assert message in refused_ranked(*overrides, error=error)


def test_the_item_is_read_though_it_is_excluded(train_ranked: Callable[..., Run]) -> None:
    run = train_ranked("sequence.exclude=[item,region]", "trainer.max_epochs=1", "baselines=none")
    assert "item" in run.schema["categorical"]


def test_items_that_the_table_lacks_are_counted_and_kept(
    train_ranked: Callable[..., Run], ring_log: pd.DataFrame, tmp_path: Path
) -> None:
    table = ring_log.drop_duplicates("sku")[["sku"]].sort_values("sku").assign(brand=lambda t: "b" + t["sku"].str[-1])
    table.iloc[5:].to_csv(tmp_path / "items.csv", index=False)
    said: list[str] = []
    options = [
        f"data.joins=[{{path: {tmp_path / 'items.csv'}, on: sku, columns: [brand], to: item}}]",
        "data.categorical=[brand]",
    ]
    options += [
        "task.content.categorical=[brand]",
        f"paths.data_dir={tmp_path / 'data'}",
        "trainer.max_epochs=1",
        "baselines=[popular]",
    ]
    run = train_ranked(*options, log=said.append)
    assert len(run.catalogue) == 60
    assert run.catalogue.missing == 5
    assert "catalogue: nothing is known of 5 of 60 items but their ids" in said
    everything = run.recommend(cutoff="2021-06-01", k=60)
    assert set(table["sku"].iloc[:5]) <= set(everything["item_id"])


# --- checkpoints and stores


def tampered(run: Run, folder: Path, change: Callable[[dict], None]) -> Run:
    copy = run.save(folder)
    path = copy.path / "checkpoints" / "model.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)
    (copy.path / "manifest.json").unlink()  # it would say first that the file was changed
    return copy


def test_model_checkpoint_of_another_schema(run: Run, tmp_path: Path) -> None:
    def rename(checkpoint: dict) -> None:
        for schema in (checkpoint["schema"], checkpoint["hyper_parameters"]["schema"]):
            schema["categorical"] = {"colour": schema["categorical"]["dept"]}
        checkpoint["state_dict"] = {
            name.replace("dept", "colour"): tensor for name, tensor in checkpoint["state_dict"].items()
        }

    with pytest.raises(ValueError, match="'colour', which the log lacks; its categorical fields are dept"):
        tampered(run, tmp_path / "renamed", rename).predict(cutoff="2021-09-01")


def test_model_checkpoint_of_another_version_or_with_other_weights(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="version 0"):
        tampered(run, tmp_path / "old", lambda checkpoint: checkpoint.update(version=0)).predict(cutoff="2021-09-01")
    with pytest.raises(ValueError, match="corrupt"):
        tampered(run, tmp_path / "lost", lambda checkpoint: checkpoint["state_dict"].popitem()).predict(
            cutoff="2021-09-01"
        )


def test_corrupt_model_checkpoint(run: Run, tmp_path: Path) -> None:
    copy = run.save(tmp_path / "copy")
    path = copy.path / "checkpoints" / "model.ckpt"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"model\.ckpt is corrupt"):
        copy.predict(cutoff="2021-09-01")


def test_a_log_without_a_column_of_the_run(run: Run, shop_log: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="dept"):
        run.predict(shop_log.drop(columns="dept"), cutoff="2021-09-01")


def test_corrupt_store_is_prepared_again(run: Run, tmp_path: Path) -> None:
    settings = run.config["data"], run.config["paths"] | {"data_dir": str(tmp_path / "data")}
    store = open_store(*settings)
    folder, expected = store.path, store.meta["checksums"]
    del store  # nobody reads it
    for name in ("time.npy", "meta.json", "dict_dept.parquet"):
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
        said: list[str] = []
        again = open_store(*settings, said.append)
        assert "corrupt" in said[0]
        assert again.meta["checksums"] == expected
        del again
    again = open_store(*settings)
    assert {path.name for path in again.path.parent.iterdir()} == {again.fingerprint, "current.json"}


# --- values that break training


def test_an_infinite_value_is_quarantined_and_a_huge_one_survives(
    train: Callable[..., Run], shop_log: pd.DataFrame, tmp_path: Path
) -> None:
    log = shop_log.copy()
    log.loc[3, "spend"], log.loc[5, "spend"] = np.inf, 1e17
    log.to_csv(tmp_path / "log.csv", index=False)
    run = train(f"data.path={tmp_path / 'log.csv'}", "trainer.max_epochs=1", "baselines=[recency]")
    assert run.metrics["data"]["quarantined"] == 1
    assert run.scores["score"].between(0, 1).all()


def test_full_disk_while_the_store_is_written(
    refused: Callable[..., str], shop_log: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clm_dl.data.store.files.ColumnFile.append", full)
    assert "disk full at" in refused(log=shop_log, error=OSError)
    assert not stores(tmp_path)


def test_full_disk_while_the_scores_are_written(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(self: pd.DataFrame, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="disk full at"):
        train("encoder=none", "baselines=[base_rate]", f"paths.output_dir={tmp_path / 'run'}")
    assert not list((tmp_path / "run").rglob("*.parquet*"))
    assert load_run(tmp_path / "run").status["state"] == "failed"
    assert load_run(tmp_path / "run").status["reason"].startswith(f"disk full at {tmp_path / 'run' / 'scores.parquet'}")


def test_a_run_that_fails_leaves_no_result_of_an_earlier_one(train: Callable[..., Run], tmp_path: Path) -> None:
    folder = f"paths.output_dir={tmp_path / 'run'}"
    train("encoder=none", "baselines=[base_rate]", folder)
    with pytest.raises(ValueError, match="not finite"):
        train("baselines=[base_rate]", "task.optimizer.lr=1e30", "overwrite=true", folder)
    assert {"metrics.json", "scores.parquet", "report.html"}.isdisjoint(
        path.name for path in (tmp_path / "run").iterdir()
    )


@pytest.mark.slow
def test_a_run_may_be_trained_again_into_its_folder(train: Callable[..., Run], tmp_path: Path) -> None:
    folder = f"paths.output_dir={tmp_path / 'run'}"
    first = train("baselines=none", folder)
    (first.path / "evaluation.json").write_text("{}")
    again = train("trainer.max_epochs=1", "baselines=[base_rate]", "overwrite=true", folder)
    assert again.status["state"] == "finished"
    assert set(again.scores["model"]) == {"network", "base_rate"}
    assert (again.history["name"] == "val/log_loss").sum() == 1  # nothing of the first is left
    assert not (again.path / "evaluation.json").exists()


@pytest.mark.slow
def test_a_run_with_other_settings_leaves_what_a_new_folder_would_hold(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    first, second = (f"paths.output_dir={tmp_path / name}" for name in ("first", "second"))
    train("snapshots.folds=2", "trainer.max_epochs=1", "baselines=[logistic]", first)
    for folder in (first, second):
        train("encoder=none", "baselines=[bg_nbd]", "overwrite=true", folder)
    again, fresh = (
        {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("first", "second")
    )
    assert again == fresh


# --- the commands themselves


def command(*words: str, cwd: Path, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )  # type: ignore[call-overload]


def one_sentence(done: subprocess.CompletedProcess, code: int = 2) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.rstrip().endswith(line)
    return line


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a full disk: OSError, not a signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_store_that_does_not_fit_on_the_disk_is_one_sentence_and_no_store(shop_csv: Path, tmp_path: Path) -> None:
    roles = [
        "data=events",
        f"data.path={shop_csv}",
        "data.roles.customer=cust",
        "data.roles.time=ts",
        "paths.data_dir=data",
    ]
    one_sentence(command("clm_dl.prepare", *roles, cwd=tmp_path, preexec_fn=limit_files))
    assert not stores(tmp_path)


@pytest.mark.slow
def test_ctrl_c_marks_the_run_and_keeps_its_best_checkpoint(run: Run, tmp_path: Path) -> None:
    config = run.config
    words = [
        f"data.path={config['data']['path']}",
        f"paths.data_dir={config['paths']['data_dir']}",
        "paths.output_dir=run",
    ]
    words += ["data.roles.customer=cust", "data.roles.time=ts", "trainer.max_epochs=5000", "callbacks.patience=5000"]
    words.append("task.steps_per_epoch=null")
    process = subprocess.Popen(
        [sys.executable, "-m", "clm_dl.train", "experiment=churn_events", *words],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs inherit that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 240
    while (
        not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "ckpt=run/checkpoints/last.ckpt" in errors
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    assert torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["max_epochs"] == 5000
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_store_path_depends_on_what_is_read() -> None:
    paths = {"data_dir": "data", "store": None, "output_dir": "run"}
    assert store_path({"name": "events", "path": "a.csv"}, paths) != store_path(
        {"name": "events", "path": "b.csv"}, paths
    )
    assert store_path({"name": "events", "path": "a.csv"}, {**paths, "store": "mine"}) == Path("mine")
