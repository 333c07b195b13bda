"""Every command as a process of its own, on a small log: prepare, train, sweep, resume, evaluate, predict, embed,
report.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from clm_dl import predict as predict_command
from clm_dl import train as train_command
from clm_dl.data.open import open_store
from clm_dl.errors import UserError
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import read_trained
from clm_dl.run import Run, load_run

Capture = pytest.CaptureFixture[str]
BIN = Path(sys.executable).parent
OLD_RUNS = Path(__file__).parent / "old_runs" / "version_1"
LOG = ["data.roles.customer=cust", "data.roles.time=ts", "data.roles.amount=spend", "data.categorical=[dept]"]
QUICK = [
    "snapshots.active_days=56",
    "encoder.hidden_size=8",
    "task.head_size=8",
    "task.steps_per_epoch=null",
    "trainer.max_epochs=1",
    "baselines=[recency]",
    "bootstrap=20",
]


@pytest.fixture(scope="module")
def folder(shop_log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a log in it, prepared by clm-prepare and trained on by clm-train."""
    folder = tmp_path_factory.mktemp("cli")
    shop_log.to_csv(folder / "shop.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def prepared(call: Callable[..., str], folder: Path) -> str:
    return call(BIN / "clm-prepare", "data=events", "data.path=shop.csv", *LOG, cwd=folder)


@pytest.fixture(scope="module")
def trained(call: Callable[..., str], folder: Path, prepared: str) -> str:
    return call(
        BIN / "clm-train",
        "experiment=churn_events",
        "data.path=shop.csv",
        *LOG,
        *QUICK,
        "paths.output_dir=first",
        cwd=folder,
    )


def test_prepare_prints_every_row(prepared: str, folder: Path, shop_log: pd.DataFrame) -> None:
    assert f"{len(shop_log):,} rows in = {len(shop_log):,} kept + 0 quarantined" in prepared
    assert f"{shop_log['cust'].nunique():,} customers" in prepared
    (home,) = (folder / "data" / "stores").iterdir()
    (meta,) = home.glob("*/meta.json")
    assert f"store: {meta.parent.relative_to(folder)}" in prepared


@pytest.mark.slow
def test_ones_own_log_needs_no_experiment(call: Callable[..., str], folder: Path, prepared: str) -> None:
    options = [*LOG, *QUICK, "snapshots.horizon_days=28", "paths.output_dir=own"]
    assert "network" in call(BIN / "clm-train", "data=events", "data.path=shop.csv", *options, cwd=folder)


def test_train_prints_the_comparison_and_where_everything_is(trained: str, folder: Path) -> None:
    assert "up to date" in trained  # what clm-prepare made is not made again
    for text in ("network", "recency", "AUC", "tensorboard --logdir first", "report.html", "padded/real"):
        assert text in trained, text
    assert "Epoch 0" in trained  # a progress bar while it works
    assert load_run(folder / "first").status["state"] == "finished"
    assert sorted(path.name for path in folder.iterdir() if path.name in ("outputs", "multirun", ".hydra")) == []


@pytest.mark.slow
def test_module_sweeps_two_encoders(call: Callable[..., str], trained: str, folder: Path) -> None:
    words = [
        "experiment=churn_events",
        "data.path=shop.csv",
        *LOG,
        *QUICK,
        "baselines=none",
        "trainer.enable_progress_bar=false",
    ]
    printed = call(
        sys.executable, "-m", "clm_dl.train", "-m", *words, "encoder=lstm,gru", "hydra.sweep.dir=sweep", cwd=folder
    )
    runs = [load_run(path) for path in sorted((folder / "sweep").iterdir()) if path.is_dir()]
    assert [run.config["encoder"]["name"] for run in runs] == ["lstm", "gru"]
    assert [run.path.name for run in runs] == ["0_encoder=lstm", "1_encoder=gru"]
    assert all(run.status["state"] == "finished" for run in runs)
    assert "2 of 2 trials finished: sweep/trials.csv, sweep/report.html" in printed


def test_evaluate_gives_the_figures_of_the_run_again(call: Callable[..., str], trained: str, folder: Path) -> None:
    printed = call(BIN / "clm-evaluate", "run=first", "bootstrap=20", cwd=folder)
    evaluation = json.loads((folder / "first" / "evaluation.json").read_text())["all"]
    metrics = load_run(folder / "first").metrics
    for model, figures in metrics["split"]["test"]["overall"].items():
        again = evaluation["split"]["test"]["overall"][model]
        assert again["auroc"]["value"] == pytest.approx(figures["auroc"]["value"], abs=1e-6)
        assert again["log_loss"]["value"] == pytest.approx(figures["log_loss"]["value"], abs=1e-6)
    assert "evaluation:" in printed


@pytest.mark.parametrize("name", ["evaluate", "predict", "embed", "report"])
def test_a_command_without_its_run_says_so(name: str) -> None:
    found = subprocess.run([BIN / f"clm-{name}"], capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.strip().startswith(f"error: run{'s' if name == 'report' else ''} is not set: write run")


def test_embed_writes_a_table(call: Callable[..., str], trained: str, folder: Path, shop_log: pd.DataFrame) -> None:
    # clm-predict: test_run, in a folder without the log
    known = set(shop_log.loc[shop_log["ts"] < "2021-08-01", "cust"])
    printed = call(
        BIN / "clm-embed", "run=first", "input=shop.csv", "cutoff=2021-08-01", "output=out/vectors.parquet", cwd=folder
    )
    vectors = pd.read_parquet(folder / "out" / "vectors.parquet")
    assert set(vectors["customer_id"]) == known
    assert vectors.shape == (len(known), 2 + 8)
    assert f"{len(known):,} customers, 8 dimensions" in printed
    assert [path.name for path in (folder / "out").iterdir()] == ["vectors.parquet"]


def test_report_compares_two_runs(call: Callable[..., str], trained: str, folder: Path, run: Run) -> None:
    printed = call(BIN / "clm-report", f"runs=[first,{run.path}]", "output=report.html", cwd=folder)
    html = (folder / "report.html").read_text()
    assert "2 of 2 runs finished" in printed
    assert "first" in html
    assert str(run.path.name) in html
    assert "<html" in html
    assert "http://" not in html.replace("http://www.w3.org", "")  # self-contained


# --- in this process: what the commands refuse


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["-m", "encoder=lstm,gru", "paths.output_dir=runs/mine"],
            "paths.output_dir together with -m would overwrite every trial",
        ),
        (["-m", "seed=0,1", "trainer.devices=2"], "a sweep runs one device a job, got trainer.devices=2"),
        (["-m", "seed=0,1", "trainer.num_nodes=2"], "a sweep runs one device a job, got trainer.num_nodes=2"),
        (["-m", "encoder=lstm,gruu"], "did you mean 'gru'"),
        (["encodr=lstm"], "did you mean 'encoder'"),
        (["seed"], "write key=value"),
        (["experiment=churn_events", "data.path=nowhere.csv"], "nowhere.csv"),
    ],
)
def test_train_refuses_in_one_sentence(
    words: list[str], message: str, here: Callable[..., None], capsys: Capture, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as error:
        here(train_command.main, *words)
    assert error.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left in ([], ["multirun.yaml"])  # Hydra writes that before it runs anything
    assert words[0] == "-m" or not list(tmp_path.iterdir())


def test_train_resumes_where_the_run_was(run: Run, here: Callable[..., None], capsys: Capture, tmp_path: Path) -> None:
    copy = run.save(tmp_path / "copy")
    data = run.config["data"]
    words = [
        f"data.path={data['path']}",
        f"paths.data_dir={run.config['paths']['data_dir']}",
        *LOG,
        *QUICK,
        "task.embedding.numeric_size=8",
    ]
    words += [
        "experiment=churn_events",
        "trainer.max_epochs=3",
        "trainer.accelerator=cpu",
        f"ckpt={copy.path}/checkpoints/last.ckpt",
    ]
    here(train_command.main, *words)
    assert f"run:         {copy.path}" in capsys.readouterr().out
    assert (load_run(copy.path).history["name"] == "val/log_loss").sum() == 3
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


# --- in this process: what the commands make of errors, and what predicting needs


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyError("inside"), 1), (ValueError("inside"), 1), (UserError("inside, so outside"), 2), (OSError("inside"), 2)],
)
def test_only_what_a_user_can_mend_is_shortened_to_a_sentence(
    error: Exception, code: int, run: Run, here: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("clm_dl.experiment.inference.prepare_store", broken)
    with pytest.raises(SystemExit) as raised:
        here(predict_command.main, f"run={run.path}")
    said = capsys.readouterr().err
    assert raised.value.code == code
    assert ("Traceback" in said) == (code == 1)
    assert (f"{type(error).__name__}: {error}" in said) if code == 1 else said == f"error: {error}\n"


def test_a_report_that_cannot_be_drawn_fails_the_command(
    run: Run, here: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("no font to draw with")

    monkeypatch.setattr("clm_dl.experiment.experiment.render_report", broken)
    words = [f"data.path={run.config['data']['path']}", f"paths.data_dir={run.config['paths']['data_dir']}", *LOG]
    words += ["experiment=churn_events", "snapshots.active_days=56", "encoder=none", "baselines=[base_rate]"]
    with pytest.raises(SystemExit) as raised:
        here(train_command.main, *words, "bootstrap=5", "paths.output_dir=run")
    assert raised.value.code == 1
    assert "RuntimeError: no font to draw with" in capsys.readouterr().err
    assert load_run("run").status == {"version": 1, "state": "failed", "reason": "no font to draw with"}


@pytest.mark.parametrize("name", ["survival", "multitask", "next_item"])
def test_recalibrating_is_refused_before_a_log_is_read(name: str, here: Callable[..., None], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as raised:
        here(predict_command.main, f"run={OLD_RUNS / name}", "input=nowhere.csv", "recalibrate=true")
    assert raised.value.code == 2
    assert capsys.readouterr().err.startswith("error: recalibrate is for ")


def test_the_best_baseline_predicts_as_it_was_fitted_and_another_is_fitted_again(
    train: Callable[..., Run], shop_csv: Path, here: Callable[..., None], tmp_path: Path
) -> None:
    own, new = tmp_path / "own.csv", tmp_path / "new.csv"
    for path in (own, new):
        shutil.copy(shop_csv, path)
    words = [f"data.path={own}", f"paths.data_dir={tmp_path / 'data'}"]
    run = train("encoder=none", "baselines=[recency,logistic]", *words)
    best = run.metrics["best_baseline"]["name"]
    [other] = {"recency", "logistic"} - {best}
    cutoff = run.scores["cutoff"].max()

    def predict(model: str) -> pd.DataFrame:
        words = [f"run={run.path}", f"input={new}", f"cutoff={cutoff.isoformat()}", f"model={model}"]
        here(predict_command.main, *words, "output=scores.parquet")
        return pd.read_parquet("scores.parquet").query("in_population").set_index("customer_id")

    def expect(model: str, found: pd.DataFrame) -> None:
        expected = run.scores[(run.scores["model"] == model) & (run.scores["cutoff"] == cutoff)]
        expected = expected.set_index("customer_id")
        assert set(found["model"]) == {model}
        assert set(found.index) == set(expected.index)
        np.testing.assert_allclose(found.loc[expected.index, "score"], expected["score"], rtol=1e-9)

    expect(other, predict(other))
    own.unlink()
    shutil.rmtree(tmp_path / "data")
    expect(best, predict("best"))
    with pytest.raises(SystemExit):  # nothing to fit it on
        predict(other)


# --- in a process of its own: what is not imported, because it takes seconds


def loaded(code: str, *words: str | Path, cwd: Path) -> set[str]:
    """Packages that a Python program has imported at its end."""
    end = "import sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    program = f"try:\n {code}\nexcept SystemExit: pass\n{end}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_clm_dl_alone_imports_no_torch(tmp_path: Path) -> None:
    found = loaded("import clm_dl", cwd=tmp_path)
    assert "clm_dl" in found
    assert found.isdisjoint({"torch", "pandas", "sklearn", "matplotlib", "hydra"})


@pytest.mark.parametrize("name", ["train", "predict", "report"])
def test_help_waits_for_no_torch(name: str, tmp_path: Path) -> None:
    found = loaded(f"from clm_dl.{name} import main; main()", "--help", cwd=tmp_path)
    assert "hydra" in found
    assert found.isdisjoint({"torch", "sklearn", "matplotlib"})


def test_predicting_waits_for_no_training_and_no_drawing(run: Run, tmp_path: Path) -> None:
    words = [f"run={run.path}", f"input={run.config['data']['path']}", "output=scores.parquet"]
    found = loaded("from clm_dl.predict import main; main()", *words, cwd=tmp_path)
    assert (tmp_path / "scores.parquet").is_file()
    assert "torch" in found
    assert found.isdisjoint({"matplotlib", "tensorboard", "pytorch_lightning"})


# --- several processes


@pytest.mark.slow
def test_two_processes_train_one_run(
    call: Callable[..., str], folder: Path, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are one process with batches twice as large: without dropout the steps are the same, and so is the end."""
    words = ["experiment=churn_events", "data.path=shop.csv", *LOG, *QUICK, "trainer.max_epochs=10"]
    words += ["callbacks.patience=1", "task.optimizer.lr=0.05", "encoder.dropout=0", "task.dropout=0"]
    words += ["task.cutoffs_per_customer=2", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu"]
    single = call(BIN / "clm-train", *words, "task.batch_size=16", "paths.output_dir=single", cwd=folder)
    ddp = ["task.batch_size=8", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    double = call(BIN / "clm-train", *words, *ddp, cwd=folder)
    assert single.count("tensorboard --logdir") == double.count("tensorboard --logdir") == 1
    assert single.count("baseline: recency") == double.count("baseline: recency") == 1
    assert "It is recommended" not in double
    (path,) = (folder / "runs" / "churn_events").iterdir()
    one, two = load_run(folder / "single"), load_run(path)
    assert two.status["state"] == "finished"
    assert two.metrics["fingerprint"] == one.metrics["fingerprint"]
    assert len(list(path.glob("events.out.tfevents.*"))) == len(list(one.path.glob("events.out.tfevents.*")))

    losses, stops = (
        [run.history.loc[run.history["name"] == name, "value"].to_numpy() for run in (one, two)]
        for name in ("train/loss", "val/log_loss")
    )
    assert len(losses[0]) == len(losses[1]) > 50
    assert losses[0][:25] == pytest.approx(losses[1][:25], abs=1e-5)
    assert 1 < len(stops[0]) == len(stops[1]) < 10
    assert stops[0] == pytest.approx(stops[1], rel=1e-2)

    # the answers of both processes are all there, once, and those that one process gives with the same weights
    monkeypatch.chdir(folder)  # where the log is
    trained = read_trained(path)
    again, _ = rescored(trained, open_store(two.config["data"], two.config["paths"]), resamples=2)
    found, again = (table[table["model"] == "network"].reset_index(drop=True) for table in (two.scores, again))
    keys = ["customer_id", "cutoff", "split"]
    assert not found.duplicated(keys).any()
    pd.testing.assert_frame_equal(
        found[keys], one.scores.loc[one.scores["model"] == "network", keys].reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(found[keys], again[keys])
    assert found["score_raw"].to_numpy() == pytest.approx(again["score_raw"].to_numpy(), abs=1e-6)
    rows = found[(found["split"] == "val") & found["label"].notna()]
    older = rows[rows["cutoff"] < rows["cutoff"].max()]
    assert stops[1].min() == pytest.approx(log_loss(older["label"], older["score_raw"]), abs=1e-5)
