"""Output files: the suffix decides the format, and no file is replaced that the command did not make itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.feather
import pytest

from clm_dl.embed import main as embed_command
from clm_dl.errors import UserError
from clm_dl.experiment.output import TABLES, check_output, read_by, signed, write_table
from clm_dl.predict import main as predict_command
from clm_dl.report import main as report_command
from clm_dl.run import Run

Capture = pytest.CaptureFixture[str]
CUTOFF = "cutoff=2021-08-01"
NOON = pd.Timestamp("2021-08-01 12:00", tz="UTC")
TABLE = pd.DataFrame({"customer_id": ["007", "a,b\n"], "cutoff": NOON, "score": [0.1, 1]})
READ: dict[str, Callable[..., pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".feather": pyarrow.feather.read_feather,
    ".csv": lambda path: pd.read_csv(path, dtype={"customer_id": str}, parse_dates=["cutoff"]),
}


@pytest.mark.parametrize("suffix", [*TABLES, ".CSV", ".Parquet"])
def test_the_suffix_is_the_format(tmp_path: Path, suffix: str) -> None:
    path = check_output(tmp_path / "new" / f"scores{suffix}")
    write_table(TABLE, path)
    again = READ[suffix.lower()](path)
    pd.testing.assert_frame_equal(again, TABLE, check_dtype=False)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["scores.xlsx", "scores", "scores.csv.gz", "scores.json", "scores.pkl", ".parquet"])
def test_another_suffix_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"must end in \.parquet, \.csv or \.feather, got (\.\w+|no suffix)"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("suffix", TABLES)
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, suffix: str) -> None:
    path, ours = tmp_path / f"mine{suffix}", tmp_path / f"ours{suffix}"
    for content in (b"", b"mine", b"customer_id,cutoff,score\n", b"PAR1", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no mark says that clm_dl wrote it"):
            check_output(path)
        assert check_output(path, overwrite=True) == path
    write_table(TABLE, ours)
    if suffix == ".csv":  # which holds no mark
        with pytest.raises(UserError, match="overwrite=true"):
            check_output(ours)
    else:
        assert check_output(ours) == ours


def test_a_table_that_pandas_wrote_is_somebody_elses(tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "a.parquet")
    TABLE.to_feather(tmp_path / "a.feather")
    for name in ("a.parquet", "a.feather"):
        with pytest.raises(UserError, match="no mark"):
            check_output(tmp_path / name)


def test_what_is_read_is_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "log.parquet"
    write_table(TABLE, log)  # marked, and yet the log
    (tmp_path / "link.parquet").symlink_to(log)
    monkeypatch.chdir(tmp_path)
    for output, read in (
        ("logs/log.parquet", "logs/log.parquet"),
        ("logs/../logs/log.parquet", str(log)),
        ("link.parquet", str(log)),
        (str(log), "link.parquet"),
        ("logs/new.parquet", "logs"),
        ("logs/deep/new.parquet", "logs/"),
        ("logs/new.parquet", "logs/*.parquet"),
        ("logs/new.parquet", "logs/../logs/n?w.parquet"),
    ):
        with pytest.raises(UserError, match="is what this command reads"):
            check_output(output, reads=[read], overwrite=True)
    assert check_output("logs/new.csv", reads=["logs/*.parquet"])


def test_all_files_of_a_configuration_are_read() -> None:
    data = {"path": "a.csv", "sources": [{"path": "b.csv", "joins": [{"path": "c.csv"}]}], "joins": [{"path": "d.csv"}]}
    config = {"data": data, "labels": {"name": "given", "path": "e.csv"}, "task": {"content": {"vectors": "f.parquet"}}}
    assert read_by(config, "g.csv", None) == [f"{name}.csv" for name in "abcde"] + ["f.parquet", "g.csv"]


@pytest.mark.parametrize(
    "name", ["scores.parquet", "items.parquet", "checkpoints/x.csv", "fold_1/scores.parquet", "store/x.parquet"]
)
def test_a_file_of_a_run_is_left_alone_though_it_is_not_there_yet(tmp_path: Path, name: str) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"version": 1, "state": "failed", "reason": None}))
    with pytest.raises(UserError, match="is a file of the run"):
        check_output(tmp_path / name, overwrite=True)
    assert check_output(tmp_path / "mine.parquet")


def test_nothing_is_written_into_a_store(small_store: Any, tmp_path: Path) -> None:
    for name in ("static.parquet", "new.parquet", "deep/new.csv"):
        with pytest.raises(UserError, match="is a file of the store"):
            check_output(small_store.path / name, overwrite=True)


# --- the commands


def refused(here: Callable[..., None], capsys: Capture, main: Any, *words: str) -> str:
    with pytest.raises(SystemExit) as error:
        here(main, *words)
    assert error.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", [predict_command, embed_command])
def test_commands_write_what_the_suffix_says_and_again_over_their_own(
    run: Run, here: Callable[..., None], capsys: Capture, tmp_path: Path, command: Any
) -> None:
    words = (f"run={run.path}", CUTOFF)
    for name in ("out.csv", "out.parquet", "out.feather", "out.parquet"):
        here(command, *words, f"output={name}")
    frames = [read(tmp_path / f"out{suffix}") for suffix, read in READ.items()]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0], check_dtype=False)
    assert "overwrite=true" in refused(here, capsys, command, *words, "output=out.csv")
    here(command, *words, "output=out.csv", "overwrite=true")
    assert "got .xlsx" in refused(here, capsys, command, *words, "output=out.xlsx")


@pytest.mark.parametrize("command", [predict_command, embed_command])
def test_the_log_and_the_run_survive_every_output(
    run: Run, here: Callable[..., None], capsys: Capture, tmp_path: Path, command: Any
) -> None:
    mine = run.save(tmp_path / "run")
    log = Path(shutil.copy(run.config["data"]["path"], tmp_path / "log.csv"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    words = (f"run={mine.path}", f"input={log}", CUTOFF, "overwrite=true")
    for output in (log, "log.csv", run.config["data"]["path"], "run/scores.parquet", "run/checkpoints/new.csv"):
        assert "choose another" in refused(here, capsys, command, *words, f"output={output}")
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_customers_and_items_are_two_files(ranked_run: Run, here: Callable[..., None], capsys: Capture) -> None:
    words = (f"run={ranked_run.path}", "output=a.csv", "item_output=./a.csv")
    assert "output and item_output are one file" in refused(here, capsys, embed_command, *words)


@pytest.mark.slow
def test_a_report_replaces_a_report(run: Run, here: Callable[..., None], capsys: Capture, tmp_path: Path) -> None:
    for _ in range(2):
        here(report_command, f"runs={run.path}", "output=report.html")
    (tmp_path / "mine.html").write_text("<html>mine</html>")
    for output in ("mine.html", f"{run.path}/report.html", "report.pdf", "report.parquet"):
        assert f"output={output}" in refused(here, capsys, report_command, f"runs={run.path}", f"output={output}")
    assert (tmp_path / "mine.html").read_text() == "<html>mine</html>"


@pytest.mark.parametrize("text", ["# @package _global_\n# mine\nseed: 1\n", "name: x\n"])
def test_a_configuration_of_ours_is_replaced_until_somebody_changes_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(signed(text))
    assert text.startswith("# @package") == path.read_text().startswith("# @package")
    assert check_output(path, formats=(".yaml",)) == path
    for changed in (
        signed(text) + "k: 2\n",
        signed(text)[:-2],
        text,
        "",
        signed(text).replace("# written", "# Written"),
    ):
        path.write_text(changed)
        with pytest.raises(
            UserError, match="no mark says that clm_dl wrote it as it is: choose another one, or set over"
        ):
            check_output(path, formats=(".yaml",))
        assert check_output(path, formats=(".yaml",), overwrite=True) == path
