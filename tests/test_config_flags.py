"""Hydra's flags work with every command as Hydra says, and read no data; a file has Hydra make nothing of its own."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clm_dl.composing import own_folder
from clm_dl.config import CONFIG_DIR, plain
from clm_dl.config import compose as composed
from clm_dl.errors import UserError
from clm_dl.overrides import command_line
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


HARM = {  # what a file says of Hydra -> what the sentence names
    "launcher": ({"launcher": {"_target_": "harm.Launcher"}}, "hydra.launcher._target_"),
    "sweeper": ({"sweeper": {"_target_": "harm.Sweeper"}}, "hydra.sweeper._target_"),
    "callbacks": ({"callbacks": {"mine": {"_target_": "harm.Callback"}}}, "hydra.callbacks"),
    "elsewhere": ({"callbacks": {"mine": "${harm}"}}, "hydra.callbacks"),
    "log": ({"job_logging": {"handlers": {"console": {"class": "harm.Handler"}}}}, "hydra.job_logging"),
    "log elsewhere": ({"job_logging": "${harm}"}, "hydra.job_logging"),
    "emptied": (
        {"job_logging": {"handlers": {"file": {"class": "logging.FileHandler", "filename": "x", "mode": "w"}}}},
        "hydra.job_logging.handlers.file",
    ),
    "overwritten": ({"run": {"dir": "project"}, "output_subdir": "."}, "hydra.output_subdir"),
    "sweep": ({"sweep": {"dir": "project"}}, "hydra.sweep.dir"),
    "environment": ({"job": {"env_set": {"PATH": "/harm"}}}, "hydra.job.env_set.PATH"),
    "trusting itself": ({"overrides": {"task": ["trusted=[harm]"]}}, "hydra.overrides"),
    "params": ({"sweeper": {"params": {"hydra.run.dir": "project"}}}, "hydra.run.dir is no parameter"),
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a file of one's own options, which is a stranger's as far as anybody knows."""
    monkeypatch.setenv("CLM_CONFIG_DIR", str(tmp_path))
    (tmp_path / "experiment").mkdir()

    def write(name: str, content: dict[str, Any]) -> None:
        (tmp_path / f"experiment/{name}.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(content)}")

    return write


@pytest.mark.parametrize("name", HARM)
def test_a_file_says_little_of_hydra(own: Callable[..., None], name: str) -> None:
    said, key = HARM[name]
    own("harm", {"harm": {"_target_": "harm.Harm"}, "hydra": said})
    own("fine", {"seed": 3})
    for words in ("experiment=harm", "experiment=fine,harm"):  # of a sweep, too
        with pytest.raises(UserError, match=re.escape(key)):
            command_line("train", [words], own_folder())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("experiment/harm", "experiment=[harm]"),
        ("experiment/harm", "experiment=glob(ha*)"),
        ("experiment/shop", "data=shop"),
        ("experiment/value_shop", "data=shop task=value"),
        ("experiment/value_fine", "experiment=fine task=value"),
        ("hydra/callbacks/harm", "hydra/callbacks=harm"),
        ("baseline/every", ""),
        ("snapshots/own", "data=own"),
    ],
)
def test_however_a_file_is_chosen(own: Callable[..., None], tmp_path: Path, name: str, words: str) -> None:
    own("fine", {"seed": 3})
    (tmp_path / "data").mkdir()
    for data in ("shop", "own"):
        (tmp_path / f"data/{data}.yaml").write_text(f"defaults: [events, _self_]\nname: {data}\n")
    path = tmp_path / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    of_hydra = {"x": {"_target_": "harm.Callback"}}
    inside = of_hydra if name.startswith("hydra") else {"hydra": {"callbacks": of_hydra}}
    header = "" if name.startswith("hydra") else "# @package _global_\n"
    path.write_text(f"{header}{yaml.safe_dump(inside)}")
    with pytest.raises(UserError, match=r"hydra\.callbacks|is one option|write the names|baseline/every"):
        command_line("train", words.split(), own_folder())


@pytest.mark.parametrize("name", ["launcher", "sweeper", "callbacks"])
def test_what_a_file_has_made_may_be_trusted_on_the_command_line(own: Callable[..., None], name: str) -> None:
    own("mine", {"hydra": HARM[name][0]})
    assert composed("train", ["experiment=mine", "trusted=[harm]"])
    with pytest.raises(UserError, match=rf"hydra\.{name}"):
        composed("train", ["experiment=mine", "trusted=[other]"])


def test_a_file_may_say_what_is_swept_and_how_many_run_at_once(own: Callable[..., None]) -> None:
    joblib = {"defaults": ["churn_events", {"override /launcher": "joblib"}]}
    own("mine", {**joblib, "hydra": {"launcher": {"n_jobs": 2}, "sweeper": {"params": {"seed": "0,1"}}}})
    assert composed("train", ["experiment=mine"])
    own("harm", {**joblib, "hydra": {"launcher": {"pre_dispatch": "harm()"}}})  # joblib evaluates it
    with pytest.raises(UserError, match=r"hydra\.launcher"):
        composed("train", ["experiment=harm"])
