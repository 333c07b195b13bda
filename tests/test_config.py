"""Overrides: a typo names the nearest valid key; files for labels; a file cannot say what is trusted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from clm_dl.config import CONFIG_DIR, compose, plain
from clm_dl.overrides import check_overrides
from clm_dl.train import main as train_command


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("encodr=lstm", "'encoder'"),
        ("encoder=lstn", "'lstm'"),
        ("data=evnts", "'events'"),
        ("task.optimiser.lr=0.1", "'task.optimizer.lr'"),
        ("snapshots.horizon=7", "'snapshots.horizon_days'"),
        ("trainer.max_epoch=3", "'trainer.max_epochs'"),
        ("sed=1", "'seed'"),
        ("data.roles.custmer=c", "'data.roles.customer'"),
        ("baseline.lightgbm.num_leafs=3", "'baseline.lightgbm.num_leaves'"),
    ],
)
def test_typo_names_the_nearest(override: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {nearest}"):
        check_overrides("train", [override])


@pytest.mark.parametrize(
    "override", ["encoder=lstm,gru", "seed=0,1,2", "task.optimizer.lr=0.1", "baselines=[logistic]", "+data.joins=[]"]
)
def test_good_overrides_pass_unchanged(override: str) -> None:
    assert check_overrides("train", [override]) == [override]


def test_override_without_equals_sign_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="write key=value"):
        check_overrides("train", ["a b"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("encoder.hidden_size=abc", "encoder.hidden_size must be a number, got 'abc'"),
        ("task.dropout=x", "task.dropout must be a number"),
        ("task.batch_size=1.5", "task.batch_size must be a whole number, got 1.5"),
        ("snapshots.horizon_days=true", "snapshots.horizon_days must be a number, got True"),
        ("seed=0,1,x", "seed must be a number, got 'x'"),
        ("sequence.features=maybe", "sequence.features must be true or false, got 'maybe'"),
    ],
)
def test_values_of_another_kind_are_refused(override: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_overrides("train", [override])


def test_values_of_the_kind_are_not_refused() -> None:
    fine = [
        "encoder.hidden_size=8,16",
        "snapshots.active_days=null",
        "snapshots.horizon_days=14.5",
        "trainer.devices=auto",
        "seed=1",
    ]
    assert check_overrides("train", [*fine, "task.optimizer.lr=1", "hydra.sweep.subdir=${seed}"])[: len(fine)] == fine


def test_labels_may_be_a_file() -> None:
    config = compose("train", ["labels=mine.csv"])
    assert plain(config.labels) == {"name": "given", "path": "mine.csv"}


def test_a_data_set_brings_its_snapshots_and_an_experiment_its_data() -> None:
    assert compose("train", ["data=cdnow"]).snapshots.horizon_days == 91
    assert compose("train", ["experiment=churn_cdnow"]).snapshots.horizon_days == 91
    assert compose("train").snapshots.horizon_days == 28


@pytest.mark.parametrize("data", ["cdnow", "events", "simulator", "ml100k", "completejourney"])
def test_the_default_experiment_reads_of_every_data_set_what_that_has(data: str) -> None:
    assert compose("train", [f"data={data}"]).sequence.exclude == (["item"] if data == "completejourney" else [])


@pytest.mark.parametrize("override", ["data.calendar={path: days.csv}", "+data.calendar={path: days.csv}"])
def test_a_calendar_is_a_key_of_a_log(override: str) -> None:
    assert compose("train", ["data=events", override]).data.calendar.path == "days.csv"
    assert compose("train", ["data=cdnow"]).data.calendar is None


@pytest.mark.parametrize("said", [{"overwrite": True}, {"ckpt": "runs/best/checkpoints/last.ckpt"}])
def test_a_file_has_no_finished_run_replaced(said: dict[str, Any], own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLM_CONFIG_DIR", str(own))
    file = own / "experiment" / "mine.yaml"
    file.write_text(f"{file.read_text()}{yaml.safe_dump(said)}paths: {{output_dir: runs/best}}\n")
    [[key, value]] = said.items()
    with pytest.raises(ValueError, match=f"{key}={value} stands in a file .* only the command line may say it"):
        compose("train", ["experiment=mine"])
    assert compose("train", ["experiment=mine", f"{key}={value}"])[key] == value


def test_a_file_names_no_folder_that_holds_anything(
    own: Path, monkeypatch: pytest.MonkeyPatch, here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was cut off would lose its checkpoints to the one that a file puts in its place."""
    monkeypatch.setenv("CLM_CONFIG_DIR", str(own))
    victim = own.parent / "victim"
    file = own / "experiment" / "mine.yaml"
    file.write_text(f"{file.read_text()}paths: {{output_dir: '{victim}'}}\n")
    assert compose("train", ["experiment=mine"]).paths.output_dir == str(victim)
    (victim / "checkpoints").mkdir(parents=True)
    (victim / "status.json").write_text('{"version": 1, "state": "interrupted"}')
    with pytest.raises(ValueError, match=r"victim holds files \(checkpoints, …\), and only the command line may name"):
        compose("train", ["experiment=mine"])
    with pytest.raises(SystemExit):
        here(train_command, "experiment=mine", "data.roles.customer=c", "data.roles.time=t")
    assert "only the command line may name" in capsys.readouterr().err
    assert compose("train", ["experiment=mine", f"paths.output_dir='{victim}'"]).paths.output_dir == str(victim)


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "embed", "report"])
def test_what_is_trusted_the_command_line_alone_says(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CONFIG_DIR, tmp_path / "configs")
    file = tmp_path / "configs" / f"{command}.yaml"
    file.write_text(file.read_text().replace("trusted: []", "trusted: [os]"))
    monkeypatch.setattr("clm_dl.composing.CONFIG_DIR", tmp_path / "configs")
    with pytest.raises(ValueError, match="only the command line may say it"):
        compose(command)
    assert compose(command, ["trusted=[mine]"]).trusted == ["mine"]


def test_a_search_trusts_nothing(here: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        here(train_command, "-m", "hparams_search=grid", "+hydra.sweeper.params.trusted='[os]'")
    assert "trusted is no parameter of a search" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("customers=[1_1,1e3,007,true]", ["1_1", "1e3", "007", "true"]),
        ("customers=[ 0x1F , -0 , +5, 1.50, inf, nan, null ]", ["0x1F", "-0", "+5", "1.50", "inf", "nan", "null"]),
        ("customers=[17,a b,'c,d',\"e'f\",g:1]", ["17", "a b", "c,d", "e'f", "g:1"]),
        ("customers=1e3", "1e3"),
        ("customers=null", None),
        ("customers=[]", []),
        (r"customers=[a\,b,12\ 3]", ["a,b", "12 3"]),
        ("where={dept: [10, 1_0, food], size: 007}", {"dept": ["10", "1_0", "food"], "size": "007"}),
        ("where=null", None),
    ],
)
def test_ids_are_taken_as_written(override: str, value: object) -> None:
    assert plain(compose("predict", ["run=x", override]))[override.split("=")[0]] == value


@given(st.lists(st.from_regex(r"[0-9_.eE+\-xaA][0-9_.eE+\-xtruefalsn]{0,8}", fullmatch=True), min_size=1, max_size=5))
def test_any_id_is_taken_as_written(ids: list[str]) -> None:
    [override] = check_overrides("predict", [f"customers=[{','.join(ids)}]"])
    assert OverridesParser.create().parse_override(override).value() == ids


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own, with a data set and an experiment called mine."""
    folder = tmp_path / "my options"
    for group in ("data", "experiment"):
        (folder / group).mkdir(parents=True)
    (folder / "data" / "mine.yaml").write_text("defaults: [events, _self_]\nname: mine\npath: log.csv\n")
    (folder / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [churn_events, override /data: mine]\nsnapshots: {horizon_days: 7}\n"
    )
    return folder


def test_options_of_ones_own_lie_in_the_folder_that_the_environment_names_or_in_configs(
    own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no experiment=mine"):
        compose("train", ["experiment=mine"])
    monkeypatch.setenv("CLM_CONFIG_DIR", str(own))
    config = compose("train", ["experiment=mine"])
    assert (config.data.name, config.data.path, config.snapshots.horizon_days) == ("mine", "log.csv", 7)
    assert config.trainer.max_epochs == compose("train", ["experiment=churn_events"]).trainer.max_epochs
    assert compose("train", ["data=mine"]).snapshots.horizon_days == 7
    assert compose("prepare", ["data=mine"]).data.path == "log.csv"
    monkeypatch.delenv("CLM_CONFIG_DIR")
    own.rename(tmp_path / "elsewhere" / "configs")
    assert compose("train", ["experiment=mine"]).data.path == "log.csv"


def test_a_folder_of_ones_own_adds_options_and_changes_none(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLM_CONFIG_DIR", str(own))
    (own / "data" / "cdnow.yaml").write_text("path: other.csv\n")
    with pytest.raises(ValueError, match=r"data=cdnow is an option of clm_dl, and .*one of the same name"):
        compose("train", ["data=cdnow"])
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\ntrusted: [shutil]\n")
    with pytest.raises(ValueError, match="only the command line may say it"):
        compose("train", ["experiment=mine"])
    monkeypatch.setenv("CLM_CONFIG_DIR", str(own / "data" / "cdnow.yaml"))
    with pytest.raises(ValueError, match=r"CLM_CONFIG_DIR names .*, which is no folder"):
        compose("train")


@pytest.mark.parametrize("place", [0, 1])
def test_config_dir_is_a_flag_of_two_words_or_one(
    own: Path, here: Callable[..., None], capsys: pytest.CaptureFixture[str], place: int
) -> None:
    flags = [["--config-dir", str(own)], [f"--config-dir={own}"]][place]
    here(train_command, "experiment=mine", *flags, "seed=5", "--cfg", "job")
    shown = capsys.readouterr().out
    assert "path: log.csv" in shown
    assert "seed: 5" in shown


def test_damaged_yaml_of_ones_own_is_one_sentence(
    own: Path, here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "data" / "mine.yaml").write_text("roles: {customer: [\n")
    with pytest.raises(SystemExit, match="2"):
        here(train_command, "experiment=mine", "--config-dir", str(own))
    assert capsys.readouterr().err.startswith("error: ")


def test_a_file_replaces_no_run(own: Path, exits: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "status.json").write_text('{"version": 1, "state": "running", "reason": null}')
    evil = f"# @package _global_\npaths: {{output_dir: {there}}}\ndata: {{path: {tmp_path}/none.csv}}\n"
    (own / "experiment" / "evil.yaml").write_text(evil)
    code, _, said = exits(train_command, "experiment=evil", "--config-dir", str(own))
    assert code != 0
    assert "only the command line may name such a folder" in said
    _, _, said = exits(train_command, "experiment=evil", "--config-dir", str(own), f"paths.output_dir={there}")
    assert "none.csv" in said  # which whoever starts it may


def test_a_trial_is_named_without_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "0_encoder=lstm,seed=0" / "checkpoints").mkdir(parents=True)
    path = "runs/0_encoder=lstm,seed=0"
    assert compose("predict", [f"run={path}"]).run == path
    assert compose("report", [f"runs={path}"]).runs == path
    assert compose("train", [f"ckpt={path}/checkpoints"]).ckpt == f"{path}/checkpoints"
    with pytest.raises(ValueError, match="cannot read the override"):
        compose("predict", ["run=runs/0_encoder=gru"])  # not there, so Hydra reads it
