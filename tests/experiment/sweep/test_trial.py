"""One trial: what is finished is not touched, what was cut off goes on, what fails is recorded and tried again."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from clm_dl.config import compose as _compose
from clm_dl.experiment.run_files import write_status
from clm_dl.experiment.run_home import LOCK, locked, state_of
from clm_dl.experiment.sweep import trial
from clm_dl.experiment.sweep.journal import entries, note
from clm_dl.experiment.sweep.trials import rank, read_trials

compose = cache(lambda *words: _compose("train", words))  # a trial changes its own copy
WORDS = ["experiment=churn_events", "data.path=shop.csv", "data.roles.customer=cust", "data.roles.time=ts"]
WORDS += ["baselines=[recency]"]


@pytest.fixture
def run(tmp_path: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Run a trial of the sweep in `sweep`: `run("0_a", "seed=1")`."""
    monkeypatch.setattr(trial, "check_job", lambda config: None)  # needs Hydra's launcher
    monkeypatch.chdir(tmp_path)

    def start(name: str, *words: str, watch: Any = None) -> float:
        folder, config = tmp_path / "sweep" / name, deepcopy(compose(*WORDS, *words))
        folder.mkdir(parents=True, exist_ok=True)  # as Hydra does
        return trial.run_trial(config, folder, tmp_path / "sweep", watch=watch)

    return start


def files(folder: Path) -> dict[str, Any]:
    """Bytes and times of everything in a folder."""
    found = [folder, *sorted(folder.rglob("*"))]
    return {str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in found}


def steps(tmp_path: Path) -> list[tuple[str, str]]:
    return [(entry.trial, entry.step) for entry in entries(tmp_path / "sweep")]


def cut_off(folder: Path) -> None:
    """As a process leaves it that was killed while it trained."""
    write_status(folder, "running")
    (folder / "metrics.json").unlink()
    (folder / LOCK).write_text("")
    (folder / "tmp123.tmp").write_text("{")
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": {}}, folder / "checkpoints" / "last.ckpt")


def test_a_finished_trial_is_kept_and_not_touched(
    run: Callable[..., float], trained: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("0_seed=5", "seed=5") == 5.0
    before = files(tmp_path / "sweep" / "0_seed=5")
    changed = ["trainer.enable_progress_bar=false", "paths.data_dir=elsewhere", "logger=csv", "overwrite=true"]
    assert run("0_seed=5", "seed=5", *changed, "sweep=again") == 5.0
    assert files(tmp_path / "sweep" / "0_seed=5") == before
    assert len(trained) == 1
    assert "kept:        sweep/0_seed=5\n" in capsys.readouterr().out
    assert steps(tmp_path)[-1] == ("0_seed=5", "kept")


def test_a_trial_of_before_a_key_was_listed_is_the_same(
    run: Callable[..., float], trained: list[Any], tmp_path: Path
) -> None:
    run("0", "seed=5")
    file = tmp_path / "sweep" / "0" / "config.yaml"
    saved = OmegaConf.load(file)
    del saved.data["calendar"]
    OmegaConf.save(saved, file)
    assert run("0", "seed=5") == 5.0
    assert len(trained) == 1


def test_a_folder_that_holds_a_file_of_somebody_else_is_no_trial(
    run: Callable[..., float], trained: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "sweep" / "0" / "config.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine: 1\n")
    assert math.isnan(run("0", "seed=5"))
    assert not trained
    assert mine.read_text() == "mine: 1\n"
    assert [path.name for path in mine.parent.iterdir()] == ["config.yaml"]
    assert "the folder holds" in capsys.readouterr().out


def test_a_finished_trial_is_found_under_another_number(
    run: Callable[..., float], trained: list[Any], tmp_path: Path
) -> None:
    run("1_seed=5", "seed=5")
    before = files(tmp_path / "sweep" / "1_seed=5")
    assert run("3_seed=5", "seed=5") == 5.0
    assert files(tmp_path / "sweep" / "1_seed=5") == before
    assert not (tmp_path / "sweep" / "3_seed=5").exists()
    assert len(trained) == 1


@pytest.mark.parametrize("state", ["finished", "running", "interrupted"])
def test_a_folder_of_other_settings_is_not_overwritten(
    run: Callable[..., float], trained: list[Any], tmp_path: Path, state: str
) -> None:
    run("0_seed=5", "seed=5")
    write_status(tmp_path / "sweep" / "0_seed=5", state)
    before = files(tmp_path / "sweep" / "0_seed=5")
    assert math.isnan(run("0_seed=5", "seed=5", "bootstrap=7"))
    assert files(tmp_path / "sweep" / "0_seed=5") == before
    [*_, last] = entries(tmp_path / "sweep")
    assert last.step == "refused"
    assert "other settings (bootstrap 1000 there, 7 here): choose another sweep=NAME" in last.sentence
    assert len(trained) == 1


def test_a_folder_that_is_no_trial_is_not_overwritten(run: Callable[..., float], trained: list[Any], tmp_path: Path):
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    (tmp_path / "sweep" / "0" / "mine.txt").write_text("mine")
    before = files(tmp_path / "sweep" / "0")
    for words in ([], ["encoder.hidden_size=0"]):
        assert math.isnan(run("0", *words))
        assert files(tmp_path / "sweep" / "0") == before
        assert "holds something else" in entries(tmp_path / "sweep")[-1].sentence
    assert trained == []


def test_one_that_was_cut_off_goes_on_from_its_checkpoint(
    run: Callable[..., float], trained: list[Any], tmp_path: Path
) -> None:
    run("0_seed=5", "seed=5")
    cut_off(tmp_path / "sweep" / "0_seed=5")
    assert run("2_seed=5", "seed=5") == 5.0
    assert trained[1]["ckpt"] == str(tmp_path / "sweep" / "0_seed=5" / "checkpoints" / "last.ckpt")
    assert trained[1]["paths"]["output_dir"] == str(tmp_path / "sweep" / "0_seed=5")
    assert [step for _, step in steps(tmp_path)] == ["begins", "finished", "goes on", "finished"]
    assert not list((tmp_path / "sweep" / "0_seed=5").glob("*.tmp"))
    assert [path.name for path in (tmp_path / "sweep").glob("*_*")] == ["0_seed=5"]


def test_a_torn_checkpoint_begins_anew(run: Callable[..., float], trained: list[Any], tmp_path: Path) -> None:
    run("0_seed=5", "seed=5")
    cut_off(tmp_path / "sweep" / "0_seed=5")
    last = tmp_path / "sweep" / "0_seed=5" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:100])
    assert run("0_seed=5", "seed=5") == 5.0
    assert trained[1]["ckpt"] is None
    assert steps(tmp_path)[-2:] == [("0_seed=5", "begins"), ("0_seed=5", "finished")]


@pytest.mark.parametrize("left", [[LOCK], [LOCK, "tmpabc.tmp"], [".config.yaml.tmp", LOCK]])
def test_one_that_was_killed_before_it_had_anything_begins(
    run: Callable[..., float], tmp_path: Path, left: list[str]
) -> None:
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    for name in left:
        (tmp_path / "sweep" / "0" / name).write_text("")
    assert run("0", "seed=5") == 5.0
    assert sorted(path.name for path in (tmp_path / "sweep" / "0").iterdir()) == [
        "config.yaml",
        "manifest.json",
        "metrics.json",
        "status.json",
    ]


def test_a_failure_is_recorded_and_tried_again(
    run: Callable[..., float], trained: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep" / "0"
    assert math.isnan(run("0", "seed=13"))
    assert state_of(folder) == "failed"
    text = (folder / "error.txt").read_text()
    assert "Traceback" in text
    assert "ZeroDivisionError" in text
    assert "hunter2" not in text + capsys.readouterr().out + (tmp_path / "sweep" / "journal.jsonl").read_text()
    (folder / "error.txt").write_text("old")
    assert math.isnan(run("0", "seed=13"))
    assert "ZeroDivisionError" in (folder / "error.txt").read_text()
    assert len(trained) == 2
    assert [step for _, step in steps(tmp_path)] == ["begins", "failed"] * 2


def test_wrong_settings_are_recorded_in_one_sentence(
    run: Callable[..., float], trained: list[Any], tmp_path: Path
) -> None:
    folder = tmp_path / "sweep" / "1"
    for _ in range(2):
        assert math.isnan(run("1", "encoder.hidden_size=0"))
        assert (folder / "error.txt").read_text().startswith("encoder.hidden_size must be ≥ 1, got 0")
        assert len((folder / "error.txt").read_text().splitlines()) == 1
        assert OmegaConf.load(folder / "config.yaml").encoder.hidden_size == 0
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "error.txt", "status.json"]
    assert run("1", "encoder.hidden_size=4", "seed=2") == 2.0  # a failure without results is in nobody's way
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "manifest.json",
        "metrics.json",
        "status.json",
    ]


def test_a_trial_with_several_devices_is_one_that_fails(run: Callable[..., float], trained: list[Any], tmp_path: Path):
    assert math.isnan(run("0", "trainer.devices=2"))
    assert "one device a job" in entries(tmp_path / "sweep")[-1].sentence
    assert trained == []


@dataclass
class Watch:
    """Stands for that of a study: what it was told."""

    prunes: bool = True
    told: list[tuple[float, bool]] = field(default_factory=list)

    def tell(self, value: float, *, pruned: bool) -> None:
        self.told.append((value, pruned))


def test_a_pruned_trial_is_recorded_and_kept_as_long_as_the_search_prunes(
    run: Callable[..., float], trained: list[Any], tmp_path: Path
) -> None:
    watch = Watch()
    for _ in range(2):
        assert math.isnan(run("0_seed=26", "seed=26", watch=watch))
        assert state_of(tmp_path / "sweep" / "0_seed=26") == "pruned"
        assert [pruned for _, pruned in watch.told][-1]
    assert len(trained) == 1
    assert steps(tmp_path) == [("0_seed=26", step) for step in ("begins", "pruned", "kept")]
    table = rank(read_trials(tmp_path / "sweep"))
    assert table[["state", "reason"]].to_numpy().tolist() == [["pruned", "behind the others"]]
    assert table["rank"].isna().all()
    (tmp_path / "sweep" / "0_seed=26" / "checkpoints").mkdir()
    torch.save({"state_dict": {}}, tmp_path / "sweep" / "0_seed=26" / "checkpoints" / "last.ckpt")
    assert run("0_seed=26", "seed=26", watch=Watch(prunes=False)) == 26.0
    assert [step for _, step in steps(tmp_path)[3:]] == ["goes on", "finished"]
    assert run("0_seed=26", "seed=26", watch=watch) == 26.0
    assert watch.told[-1] == (26.0, False)


def test_a_search_is_told_how_each_trial_ended_but_not_of_another_process_s(
    run: Callable[..., float], tmp_path: Path
) -> None:
    watch = Watch()
    for seed in (5, 13):
        run(str(seed), f"seed={seed}", watch=watch)
    run("5", "seed=6", watch=watch)  # refused: another trial's folder
    assert watch.told[0] == (5.0, False)
    assert all(math.isnan(value) and not pruned for value, pruned in watch.told[1:])
    assert len(watch.told) == 3
    write_status(tmp_path / "sweep" / "13", "running")
    with locked(tmp_path / "sweep" / "13"):
        run("13", "seed=13", watch=watch)
    assert len(watch.told) == 3


def test_a_trial_of_another_process_is_left(run: Callable[..., float], trained: list[Any], tmp_path: Path) -> None:
    run("0", "seed=5")
    cut_off(tmp_path / "sweep" / "0")
    with locked(tmp_path / "sweep" / "0"):
        before = files(tmp_path / "sweep" / "0")
        assert math.isnan(run("0", "seed=5"))
        assert files(tmp_path / "sweep" / "0") == before
    assert entries(tmp_path / "sweep")[-1].step == "left"
    assert "in use by" in entries(tmp_path / "sweep")[-1].sentence


def test_ctrl_c_ends_the_sweep_and_leaves_no_empty_folder(
    run: Callable[..., float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as end:
        run("0", "seed=130")
    assert end.value.code == 130
    assert state_of(tmp_path / "sweep" / "0") == "interrupted"
    assert steps(tmp_path)[-1] == ("0", "interrupted")

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run_experiment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("1", "seed=1")
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_line_that_was_cut_off_is_no_entry(tmp_path: Path) -> None:
    note(tmp_path, "0", "begins")
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"start": "a", "tri')
    assert [entry.step for entry in entries(tmp_path)] == ["begins"]


def test_what_goes_wrong_behind_a_finished_run_does_not_undo_it(
    run: Callable[..., float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(results: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(trial, "print_comparison", broken)
    run("0", "seed=5")
    assert state_of(tmp_path / "sweep" / "0") == "finished"
    assert not (tmp_path / "sweep" / "0" / "error.txt").exists()
    assert run("0", "seed=5") == 5.0


def test_trials_in_folders_of_folders_stand_in_the_journal_of_the_sweep(
    run: Callable[..., float], tmp_path: Path
) -> None:
    run("lstm/0", "seed=5")
    assert steps(tmp_path) == [("lstm/0", "begins"), ("lstm/0", "finished")]
    assert not (tmp_path / "sweep" / "lstm" / "journal.jsonl").exists()


def test_a_failure_shows_the_settings_that_it_had_last(run: Callable[..., float], tmp_path: Path) -> None:
    for size in (0, -1):
        run("0", f"encoder.hidden_size={size}")
    assert OmegaConf.load(tmp_path / "sweep" / "0" / "config.yaml").encoder.hidden_size == -1
