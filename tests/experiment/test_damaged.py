"""Damaged files of a run: one sentence that names the file and the remedy, and no traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clm_dl.checksums import write_sealed
from clm_dl.embed import main as embed_command
from clm_dl.errors import UserError
from clm_dl.evaluate import main as evaluate_command
from clm_dl.experiment.run_files import read_results
from clm_dl.predict import main as predict_command
from clm_dl.report import main as report_command
from clm_dl.run import Run, load_run

FILES = ("config.yaml", "status.json", "metrics.json", "scores.parquet", "checkpoints/model.ckpt")
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "list": lambda content: b"[1, 2]",
    "word": lambda content: b"word",
    "mapping": lambda content: b"{}",
    "number": lambda content: b"3",
    "not text": lambda content: b"\xff\xfe" + content,
    "open": lambda content: b"{a: [1, ${",
}


def read_all(folder: Path) -> None:
    opened = load_run(folder)
    assert opened.metrics["split"]
    [results] = read_results(folder)
    assert len(results.test)
    assert len(opened.scores)
    assert opened.trained.task


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_sentence(run: Run, tmp_path: Path, name: str, damage: str) -> None:
    file = run.save(tmp_path / "copy").path / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(UserError) as raised:
        read_all(tmp_path / "copy")
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert file.name in sentence


@pytest.mark.parametrize("name", ["items.parquet", "cards.json"])
def test_a_damaged_file_of_a_run_that_recommends(ranked_run: Run, tmp_path: Path, name: str) -> None:
    file = ranked_run.save(tmp_path / "copy").path / name
    for damage in ("cut", "empty", "zeros", "word"):
        file.write_bytes(DAMAGES[damage]((ranked_run.path / name).read_bytes()))
        with pytest.raises(UserError, match=f"{name} is corrupt"):
            read_results(tmp_path / "copy")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (predict_command, ["run=copy", "model=best"]),
        (evaluate_command, ["run=copy"]),
        (embed_command, ["run=copy"]),
        (report_command, ["runs=copy"]),
    ],
)
@pytest.mark.parametrize("name", ["config.yaml", "status.json"])
def test_no_command_shows_a_traceback(
    run: Run,
    here: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    command: Any,
    words: list[str],
    name: str,
) -> None:
    file = run.save(tmp_path / "copy").path / name
    content = file.read_bytes()
    for size in (0, len(content) // 4, len(content) // 2):  # what is cut behind may be whole again
        file.write_bytes(content[:size])
        with pytest.raises(SystemExit) as error:
            here(command, *words)
        assert error.value.code == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")


SHAPES: dict[str, Any] = {
    "nothing": {},
    "list": [],
    "split of nothing": {"split": {}},
    "split of a list": {"split": []},
    "parts of a word": {"split": {"test": "word", "val": {}}},
    "figures of a list": {"split": {"test": {"overall": {"network": [1]}}, "val": {"overall": {}}}},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["metrics.json", "timing.json"])
def test_what_is_json_and_of_another_shape_is_one_sentence(
    run: Run, here: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, shape: str
) -> None:
    folder = run.save(tmp_path / "copy").path
    (folder / "manifest.json").unlink()
    (folder / name).write_text(json.dumps(SHAPES[shape]))
    try:
        here(report_command, "runs=copy")
    except SystemExit as error:
        assert error.code == 2  # noqa: PT017  (what the report does not need may be anything)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert "copy" in line
    else:
        assert name != "metrics.json"


def test_a_fault_in_a_sealed_run_is_ours(run: Run, here: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TypeError("a fault")

    monkeypatch.setattr("clm_dl.visual.html.render_report", fails)
    with pytest.raises(SystemExit) as raised:
        here(report_command, f"runs={run.path}")
    assert raised.value.code == 1
    (copy := run.save("copy").path / "manifest.json").unlink()
    with pytest.raises(SystemExit) as raised:
        here(report_command, f"runs={copy.parent}")
    assert raised.value.code == 2


def test_a_manifest_of_another_shape_is_one_sentence(run: Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "copy").path
    for value in ({"version": 1}, {"version": 1, "files": []}, {"version": 1, "files": {"config.yaml": 3}}, {}):
        write_sealed(folder / "manifest.json", value)
        with pytest.raises(UserError, match=r"manifest\.json"):
            load_run(folder)
