"""Damaged files of a run: one sentence that names the file and the remedy, and no traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
