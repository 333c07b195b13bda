"""Writing: whole or not at all, a full disk in one sentence at every step, and no data left behind by the dead."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from clm_dl.run import Run
from clm_dl.writing import DiskFull, full_disk_said, is_full, passing_folder, replacing, write_text

ERRORS = {
    "system": OSError(errno.ENOSPC, "No space left on device", "x"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "size": OSError(errno.EFBIG, "File too large"),
    "duckdb": duckdb.IOException("Could not write file: No space left on device"),
    "duckdb spill": duckdb.OutOfMemoryException("failed to offload: max_temp_directory_size"),
    "arrow": pa.ArrowException("[errno 28] No space left on device"),
    "torch": RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0"),
    "numpy": OSError("10000 requested and 0 written"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_whatever_says_that_a_disk_is_full_is_one_sentence(name: str, tmp_path: Path) -> None:
    sentence = f"^disk full at {tmp_path}: free some space"
    with pytest.raises(OSError, match=sentence), full_disk_said(tmp_path):
        raise ERRORS[name]
    outer = KeyError("inside")
    outer.__cause__ = ERRORS[name]
    assert is_full(outer)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), full_disk_said(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_nothing_half_and_nothing_beside_it(tmp_path: Path) -> None:
    def fails() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("ha")
            raise ERRORS["system"]

    write_text(tmp_path / "a.txt", "whole")
    with pytest.raises(DiskFull):
        fails()
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


# --- passing folders


LEAVE = """
import sys, time, pathlib
from clm_dl.writing import passing_folder
with passing_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "customers.csv").write_text("secret")
    print("there", flush=True)
    time.sleep(100)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    (tmp_path / "clm_dl-mine").mkdir()
    (tmp_path / "clm_dl-mine" / "lock").write_text("a user's own")
    processes = []
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", LEAVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        processes.append(process)
    try:
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert len(list(tmp_path.glob("*/new/customers.csv"))) == 2
        with passing_folder(tmp_path) as folder:
            (folder / "more.csv").write_text("secret")
            assert len(list(tmp_path.glob("*/new/customers.csv"))) == 1
        assert not list(tmp_path.glob("*/new/more.csv"))
        assert len(list(tmp_path.glob("*/new/customers.csv"))) == 1
        assert (tmp_path / "clm_dl-mine" / "lock").read_text() == "a user's own"
    finally:
        processes[1].kill()
        for process in processes:
            process.communicate()


# --- a full disk at every write of a run


POINTS = {
    "config": ("clm_dl.experiment.experiment.OmegaConf.to_yaml", "run"),
    "versions": ("clm_dl.experiment.experiment.environment", "run"),
    "network": ("torch.save", "run"),
    "vocabulary": ("clm_dl.data.sequences.vocabulary.Vocabulary.to_json", "run"),
    "scores": ("pandas.DataFrame.to_parquet", "scores.parquet"),
    "baseline": ("skops.io.dumps", "run"),
    "tensorboard": ("clm_dl.experiment.experiment.write_results", "run"),
    "report": ("clm_dl.experiment.experiment.render_report", "run"),
    "manifest": ("clm_dl.experiment.manifest.write_sealed", "run"),
}


@pytest.mark.parametrize(
    "point",
    [name if name in ("network", "manifest") else pytest.param(name, marks=pytest.mark.slow) for name in POINTS],
)
def test_a_full_disk_at_any_step_is_the_status_and_leaves_nothing_half(
    train: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    where, named = POINTS[point]

    def full(*arguments: object, **_: object) -> None:
        for path in arguments:
            if isinstance(path, Path) and path.suffix == ".tmp":
                path.write_bytes(b"half")
        raise ERRORS["torch"] if point == "network" else ERRORS["system"]

    monkeypatch.setattr(where, full)
    words = ["encoder=none"] if point not in ("network", "vocabulary", "tensorboard") else ["trainer.max_epochs=1"]
    with pytest.raises(DiskFull):
        train(*words, "baselines=[logistic]", f"paths.output_dir={tmp_path / 'run'}")
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["reason"].startswith("disk full at ")
    assert named in status["reason"].split(": ")[0]
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert not (tmp_path / "run" / "run.lock").exists()
    assert not (tmp_path / "run" / "manifest.json").exists()


def limit(size: int) -> Callable[[], None]:
    def apply() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a full disk: OSError, not a signal
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return apply


@pytest.mark.slow
@pytest.mark.parametrize("size", [300, 30_000, 120_000])
def test_files_that_may_grow_so_far_only(run: Run, tmp_path: Path, size: int) -> None:
    words = ["experiment=churn_events", f"data.path={run.config['data']['path']}", "data.roles.customer=cust"]
    words += ["data.roles.time=ts", f"paths.data_dir={run.config['paths']['data_dir']}", "paths.output_dir=run"]
    words += ["bootstrap=20", "baselines=[recency]", "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "clm_dl.train", *words, "trainer.accelerator=cpu", "data.numeric=[spend]"]
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "preexec_fn": limit(size)}
    done = subprocess.run(command, **options)  # type: ignore[call-overload]
    left = [
        path for path in tmp_path.rglob("*") if path.suffix == ".tmp" or path.name.startswith((".staged", "clm_dl-"))
    ]
    assert left == []
    if done.returncode:
        assert "Traceback" not in done.stderr
        assert "disk full at " in done.stderr
        assert (tmp_path / "run" / "status.json").exists() is (tmp_path / "run").exists() or size < 1000
        if (tmp_path / "run" / "status.json").exists():
            status = json.loads((tmp_path / "run" / "status.json").read_text())
            assert status["state"] == "failed"
            assert status["reason"].startswith("disk full at ")
