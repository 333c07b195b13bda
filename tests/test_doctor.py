"""clm-doctor: a line a file, and exit code 0 only for what is sound."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from clm_dl.doctor import main
from clm_dl.run import Run


@pytest.fixture
def doctor(exits: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors."""
    return partial(exits, main)


@pytest.mark.slow
def test_a_sound_run_and_everything_that_can_be_wrong_with_one(
    run: Run, doctor: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    copy = run.save(tmp_path / "copy").path
    (copy / "notes.txt").write_text("mine")
    code, out, _ = doctor(f"run={copy}")
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} - {"manifest.json"}
    assert code == 0
    assert {line.split(" ", 1)[1].strip() for line in out.splitlines()[:-1]} == files
    assert "unknown notes.txt" in out
    assert f"run {copy} is sound: {len(files) - 1} files" in out
    for path in (copy / name for name in files - {"notes.txt"}):
        content = path.read_bytes()
        for damaged in (content[:-1], content + b"x", content[:-1] + bytes([content[-1] ^ 1]), None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            code, out, said = doctor(f"run={copy}")
            assert code != 0, path
            assert f"DAMAGED {path.relative_to(copy)} " in out
            assert str(path.relative_to(copy)) in said
        path.write_bytes(content)
    assert doctor(f"run={copy}")[0] == 0
    (copy / "manifest.json").write_text("{")
    assert doctor(f"run={copy}")[0] != 0
    (copy / "manifest.json").unlink()
    assert "nobody can tell" in doctor(f"run={copy}")[2]


@pytest.mark.slow
def test_a_sound_store_and_everything_that_can_be_wrong_with_one(
    run: Run, doctor: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    from clm_dl.data.open import open_store

    paths = run.config["paths"] | {"store": str(tmp_path / "store")}
    folder = open_store(run.config["data"], paths).path
    other = open_store(run.config["data"] | {"dedupe": True}, paths).path
    for path in (tmp_path / "store", folder):
        code, out, _ = doctor(f"store={path}")
        assert code == 0
        assert "sound" in out
    for path in [tmp_path / "store" / "current.json", *folder.iterdir(), *other.iterdir()]:
        content = path.read_bytes()
        for damaged in (content[:-1], content[:-2] + bytes([content[-2] ^ 1, content[-1]]), None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            code, out, _ = doctor(f"store={tmp_path / 'store'}")
            assert code != 0, path
            assert f"DAMAGED {path.relative_to(tmp_path / 'store')} " in out
        path.write_bytes(content)
    assert doctor(f"store={tmp_path / 'store'}")[0] == 0


@pytest.mark.parametrize("words", [[], ["run=a", "store=b"], ["run=nowhere"], ["store=nowhere"]])
def test_what_is_no_run_or_store_is_said(doctor: Callable[..., tuple[int, str, str]], words: list[str]) -> None:
    code, out, said = doctor(*words)
    assert (code, out) == (2, "")
    assert said.startswith("error: ")
