"""Resume: an interrupted run that goes on from last.ckpt equals the uninterrupted one, in place and elsewhere."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from clm_dl.run import Run, load_run
from clm_dl.tasks.module import SequenceTask
from clm_dl.training.checkpoint import network_weights

# an epoch takes up in the middle of a pass where the one before it ended
DRAWN = ("task.cutoffs_per_customer=5", "task.steps_per_epoch=10")
LONG = ("trainer.max_epochs=4", "callbacks.patience=9", *DRAWN)


@contextmanager
def interrupted_in(epoch: int) -> Iterator[None]:
    """Ctrl-C in the middle of an epoch, as Python raises it; the run must end with exit code 130."""
    step, handler = SequenceTask.training_step, signal.getsignal(signal.SIGINT)

    def interrupted(task: SequenceTask, batch: object, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == epoch and batch_idx == 3:
            raise KeyboardInterrupt
        return step(task, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceTask, "training_step", interrupted)
        with pytest.raises(SystemExit) as error:
            yield
    signal.signal(signal.SIGINT, handler)  # Lightning ignores it from then on
    assert error.value.code == 130


@pytest.fixture(scope="module")
def straight(train: Callable[..., Run]) -> Run:
    return train(*LONG)


@pytest.fixture
def stopped(train: Callable[..., Run], tmp_path: Path) -> Path:
    """The directory of a run that was interrupted in its third epoch."""
    with interrupted_in(2):
        train(*LONG, f"paths.output_dir={tmp_path / 'run'}")
    return tmp_path / "run"


def test_interrupted_run_says_so_and_keeps_its_best_checkpoint(stopped: Path) -> None:
    run = load_run(stopped)
    assert run.status["state"] == "interrupted"
    assert "Ctrl-C" in run.status["reason"]
    for name in ("best", "last"):
        assert torch.load(stopped / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"] <= 1
    assert not (stopped / "metrics.json").exists()
    with pytest.raises(FileNotFoundError, match=r"\(interrupted\) has no metrics\.json: only a finished run has one"):
        _ = run.metrics


def test_a_run_that_a_scheduler_ends_says_so(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = SequenceTask.training_step

    def ended(task: SequenceTask, batch: object, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(task, batch, batch_idx)

    monkeypatch.setattr(SequenceTask, "training_step", ended)
    with pytest.raises(SystemExit) as error:
        train(*LONG, f"paths.output_dir={tmp_path / 'run'}")
    assert error.value.code == 143
    assert "SIGTERM" in load_run(tmp_path / "run").status["reason"]
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_resumed_run_equals_the_uninterrupted_one(
    train: Callable[..., Run], straight: Run, stopped: Path, tmp_path: Path
) -> None:
    last = stopped / "checkpoints" / "last.ckpt"
    shutil.copytree(last.parent, tmp_path / "older" / "checkpoints")
    older = tmp_path / "older" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"] = network_weights(checkpoint)  # named as older versions did
    torch.save(checkpoint, older)
    of_older = train(*LONG, f"ckpt={older}", f"paths.output_dir={tmp_path / 'of_older'}")
    elsewhere = train(*LONG, f"ckpt={last}", f"paths.output_dir={tmp_path / 'elsewhere'}")
    assert load_run(stopped).status["state"] == "interrupted"
    in_place = train(*LONG, f"ckpt={last}", f"paths.output_dir={stopped}")
    expected = (straight.path / "metrics.json").read_bytes()
    for resumed in (of_older, elsewhere, in_place):
        assert resumed.status["state"] == "finished"
        assert (resumed.path / "metrics.json").read_bytes() == expected
        assert resumed.scores.equals(straight.scores)
        for name, tensor in straight.checkpoint["state_dict"].items():
            assert torch.equal(tensor, resumed.checkpoint["state_dict"][name])
    curve = straight.history.query("name == 'val/log_loss'")["value"].tolist()
    assert in_place.history.query("name == 'val/log_loss'").drop_duplicates("step")["value"].tolist() == curve


@pytest.mark.slow
def test_resumed_run_remembers_a_best_epoch_before_the_interruption(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def worse_each_epoch(task: SequenceTask) -> None:
        task.validated.clear()
        task.log("val/log_loss", 0.5 + 0.1 * task.current_epoch)

    monkeypatch.setattr(SequenceTask, "on_validation_epoch_end", worse_each_epoch)
    options = (*LONG, "baselines=none")
    straight = train(*options)
    with interrupted_in(2):
        train(*options, f"paths.output_dir={tmp_path / 'run'}")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    last = f"ckpt={moved / 'checkpoints' / 'last.ckpt'}"
    for folder in (tmp_path / "other", moved):
        resumed = train(*options, last, f"paths.output_dir={folder}")
        assert torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 0
        assert resumed.metrics == straight.metrics


def test_a_run_that_is_interrupted_again_has_no_results_of_before(train: Callable[..., Run], stopped: Path) -> None:
    folder = stopped / "checkpoints"
    for path in (folder / "model.ckpt", stopped / "metrics.json"):
        path.write_text("old")
    with interrupted_in(3):
        train(*LONG, f"ckpt={folder / 'last.ckpt'}", f"paths.output_dir={stopped}")
    assert load_run(stopped).status["state"] == "interrupted"
    assert not (stopped / "metrics.json").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.categorical=[]",), "another schema"),
        (("snapshots.train=[2021-03-01]",), "another schema"),
        (
            ("task=propensity", "labels=event", "labels.field=dept", "labels.values=[toys]"),
            "another question .name differs",
        ),
        (("encoder=gru",), "belongs to another network"),
        (("encoder.hidden_size=16",), "belongs to another network"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    train: Callable[..., Run], run: Run, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train(*overrides, f"ckpt={run.path / 'checkpoints' / 'last.ckpt'}")


def test_a_checkpoint_that_cannot_be_resumed_is_refused(train: Callable[..., Run], run: Run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        train(f"ckpt={tmp_path / 'nothing.ckpt'}")
    with pytest.raises(ValueError, match=r"give the last\.ckpt"):
        train(f"ckpt={run.path / 'checkpoints' / 'model.ckpt'}")
    last = torch.load(run.path / "checkpoints" / "last.ckpt", weights_only=True)
    for key, value in {"labels": {"name": "event"}, "data": "0"}.items():
        torch.save({**last, "asked": {**last["asked"], key: value}}, tmp_path / "other.ckpt")
        with pytest.raises(ValueError, match=f"another question .{key} differs"):
            train(f"ckpt={tmp_path / 'other.ckpt'}")
    for name in ("x/..", "notes.txt"):
        callbacks = {
            key: {**state, "best_model_path": name} if "best_model_path" in state else state
            for key, state in last["callbacks"].items()
        }
        torch.save({**last, "callbacks": callbacks}, tmp_path / "other.ckpt")
        with pytest.raises(ValueError, match=r"calls a checkpoint of its run '.*only best\.ckpt and last\.ckpt can be"):
            train(f"ckpt={tmp_path / 'other.ckpt'}")
    (tmp_path / "cut.ckpt").write_bytes((run.path / "checkpoints" / "last.ckpt").read_bytes()[:5000])
    with pytest.raises(ValueError, match="is corrupt or holds more than data"):
        train(f"ckpt={tmp_path / 'cut.ckpt'}")
    with pytest.raises(ValueError, match="encoder=none trains no network"):
        train("encoder=none", f"ckpt={run.path / 'checkpoints' / 'last.ckpt'}")
