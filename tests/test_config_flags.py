"""Hydra's flags work with every command as Hydra says, and read no data; a file has Hydra make nothing of its own."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clm_dl.config import CONFIG_DIR, plain
from clm_dl.config import compose as composed
from clm_dl.errors import UserError
from clm_dl.train import main as train_command

Capture = pytest.CaptureFixture[str]
COMMANDS = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))
FLAGS = ("-c hydra", "--cfg=job", "--help", "--info defaults", "--info=config", "--version")


@pytest.fixture
def printed(here: Callable[..., None], capsys: Capture) -> Callable[..., str]:
    """What a command prints, in an empty folder that stays empty."""

    def run(name: str, *words: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hydra._internal.hydra.Hydra.run", None)  # no job is run
            code = None
            try:
                here(importlib.import_module(f"clm_dl.{name}").main, *words)
            except SystemExit as stop:
                code = stop.code
        assert not code, capsys.readouterr().err
        assert list(Path.cwd().iterdir()) == []
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("name", "flag"), [*((name, "--cfg job") for name in COMMANDS), *(("doctor", flag) for flag in FLAGS)]
)
def test_every_command_has_them(printed: Callable[..., str], name: str, flag: str) -> None:
    assert printed(name, *flag.split())


def test_the_configuration_is_shown_as_the_command_line_makes_it(printed: Callable[..., str]) -> None:
    words = ["encoder=gru", "data=events", "data.path=nowhere.csv", "data.roles.customer=c", "data.roles.time=t"]
    said = yaml.safe_load(printed("train", "--cfg", "job", *words, "--resolve"))
    known = plain(composed("train", words))
    assert said["encoder"] == known["encoder"]
    assert said["encoder"]["name"] == "gru"
    timed = {"paths": None, "logger": None}  # they have the time in them
    assert {**said, **timed} == {**known, **timed}


def test_a_package_and_flags_between_overrides(printed: Callable[..., str]) -> None:
    said = yaml.safe_load(printed("train", "task=survival", "--cfg", "job", "-p", "task", "task.dropout=0.3"))
    assert (said["name"], said["dropout"]) == ("survival", 0.3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--cfg job --multirun", "--multirun and --cfg do not go together"),
        ("--resolve", "--resolve goes with --cfg"),
        ("--shell-completion", "write -sc install=bash"),
        ("--experimental-rerun config.pickle", "would run what is in its file"),
        ("--cfg job encodr=gru", "did you mean 'encoder'"),
    ],
)
def test_flags_that_cannot_be(words: str, message: str, here: Callable[..., None], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as raised:
        here(train_command, *words.split())
    assert raised.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


HARM = {
    "launcher": {"launcher": {"_target_": "harm.Launcher"}},
    "sweeper": {"sweeper": {"_target_": "harm.Sweeper"}},
    "callbacks": {"callbacks": {"mine": {"_target_": "harm.Callback"}}},
    "log": {"job_logging": {"handlers": {"console": {"class": "harm.Handler"}}}},
    "factory": {"job_logging": {"formatters": {"simple": {"()": "harm.Formatter"}}}},
}


@pytest.mark.parametrize("name", HARM)
def test_a_file_has_hydra_make_nothing_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    for path in CONFIG_DIR.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "experiment").unlink()
    (folder / "experiment").mkdir()
    for path in (CONFIG_DIR / "experiment").iterdir():
        (folder / "experiment" / path.name).symlink_to(path)
    own = yaml.safe_dump({"hydra": HARM[name]})
    (folder / "experiment" / f"harm_{name}.yaml").write_text(f"# @package _global_\n{own}")
    monkeypatch.setattr("clm_dl.config.CONFIG_DIR", folder)
    with pytest.raises(UserError, match=r"names harm\.\w+, which is not Hydra's: add trusted=\[harm\]"):
        composed("train", [f"experiment=harm_{name}"])
    assert composed("train", [f"experiment=harm_{name}", "trusted=[harm]"])
