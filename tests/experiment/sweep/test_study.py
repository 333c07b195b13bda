"""The studies of an Optuna search: asked, told and pruned without training, cut off anywhere, and gone on with."""

import json
import math
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from clm_dl.composing import composed
from clm_dl.errors import UserError
from clm_dl.experiment.sweep import study as study_module
from clm_dl.experiment.sweep.place import STUDIES
from clm_dl.experiment.sweep.search import Search
from clm_dl.experiment.sweep.space import read_space
from clm_dl.experiment.sweep.study import Asking, Watch, studies_opened

read = cache(lambda words: composed("train", words, None))  # nobody changes it
WORDS = ["experiment=churn_events", "data.path=shop.csv", "data.roles.customer=cust", "data.roles.time=ts"]
AXES = ["task.optimizer.lr=tag(log,interval(0.0001,0.01))", "encoder.hidden_size=int(interval(8,32))"]
AXES += ["task.pooling=choice(last,mean)", "encoder.num_layers=range(1,4)"]


@pytest.fixture(autouse=True)
def composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "composed", lambda name, words, own: read(tuple(words)))


def search(*words: str, trials: int = 6, prune: bool = True) -> Search:
    space = read_space(OverridesParser.create().parse_overrides([*AXES, *words]))
    return Search("optuna", space, trials, 0, prune)


def good(number: int, job: dict[str, str]) -> float:
    return abs(math.log10(float(job["task.optimizer.lr"])) + 3)


Value = Callable[[int, dict[str, str]], float | None]


def start(
    sweep: Path, searched: Search, value: Value = good, *, at_once: int = 1, words: list[str] = WORDS
) -> list[dict[str, str]]:
    """Every job as a launcher runs it, until one is killed (its value is None); NaN fails, inf is pruned."""
    jobs: list[dict[str, str]] = []
    with studies_opened(sweep, searched, words, None):
        asking = Asking(sweep, searched, at_once=at_once)
        while not asking.over:
            first = len(jobs)
            jobs += [dict(text.split("=", 1) for text in job) for job in asking.batch()]
            assert len(jobs) > first
            for number in range(first, len(jobs)):
                if (found := value(number, jobs[number])) is None:
                    return jobs
                Watch(sweep, number, prune=searched.prune).tell(found, pruned=math.isinf(found))
    return jobs


def trials(sweep: Path, study: str = "all") -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(sweep / STUDIES)))
    return optuna.load_study(study_name=study, storage=storage).trials


def test_a_search_that_is_cut_off_asks_for_the_same_trials(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", search())
    for number in (0, 3):
        cut = start(tmp_path / "cut", search(), lambda at, job, number=number: None if at == number else good(at, job))
        assert cut == whole[: number + 1]
    assert start(tmp_path / "cut", search()) == whole
    assert start(tmp_path / "cut", search()) == whole  # once more, all of them known
    assert [trial.state for trial in trials(tmp_path / "cut")] == [TrialState.COMPLETE] * 6
    assert len({job["task.optimizer.lr"] for job in whole}) == 6
    assert all(8 <= int(job["encoder.hidden_size"]) <= 32 for job in whole)
    assert {job["encoder.num_layers"] for job in whole} <= {"1", "2", "3"}


def test_values_that_were_told_decide_what_is_asked_for(tmp_path: Path) -> None:
    searched = search(trials=12)
    one, other = (start(tmp_path / name, searched, value) for name, value in (("a", good), ("b", lambda at, job: -at)))
    assert one[:4] == other[:4]  # drawn at random
    assert one[4:] != other[4:]


def test_the_lock_of_a_process_that_was_killed_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start(Path("mine"), search(trials=1))
    Path("mine/optuna.journal.lock").symlink_to(tmp_path / "mine" / STUDIES)
    hours = count()
    clock = SimpleNamespace(monotonic=lambda: 3600.0 * next(hours), sleep=lambda seconds: None)
    monkeypatch.setattr("optuna.storages.journal._file.time", clock)
    assert len(start(Path("mine"), search(trials=2))) == 2
    assert not Path("mine/optuna.journal.lock").is_symlink()
    lock = study_module._storage(Path("mine"))._backend._lock
    assert Path(lock._lock_target_file).is_absolute()  # else the link would lead nowhere, and never be let go


def test_more_trials_go_on_with_the_study(tmp_path: Path) -> None:
    few = start(tmp_path, search(trials=3))
    assert start(tmp_path, search(trials=6))[:3] == few
    assert len(trials(tmp_path)) == 6


def test_a_trial_that_failed_is_tried_again_with_its_values(tmp_path: Path) -> None:
    first = start(tmp_path, search(), lambda at, job: math.nan if at == 2 else good(at, job))
    assert [trial.state for trial in trials(tmp_path)].count(TrialState.FAIL) == 1
    assert start(tmp_path, search()) == first
    [*_, again] = trials(tmp_path)
    assert again.state == TrialState.COMPLETE
    assert again.user_attrs["job"]["number"] == 2
    assert len(trials(tmp_path)) == 7


def test_a_trial_that_was_cut_off_while_it_was_asked_for_is_none(tmp_path: Path) -> None:
    start(tmp_path, search(trials=2))
    study = optuna.load_study(study_name="all", storage=JournalStorage(JournalFileBackend(str(tmp_path / STUDIES))))
    study.ask()
    assert len(start(tmp_path, search(trials=4))) == 4
    assert [trial.state for trial in trials(tmp_path)].count(TrialState.COMPLETE) == 4


def test_every_point_of_the_grid_has_a_study_and_they_take_turns(tmp_path: Path) -> None:
    jobs = start(tmp_path, search("encoder=lstm,gru", trials=5), at_once=2)
    assert [job["encoder"] for job in jobs] == ["lstm", "gru", "lstm", "gru", "lstm"]
    assert [len(trials(tmp_path, name)) for name in ("encoder=lstm", "encoder=gru")] == [3, 2]
    assert start(tmp_path, search("encoder=lstm,gru", trials=5), at_once=3) == jobs


def test_a_point_that_cannot_run_is_left_to_its_trials(tmp_path: Path) -> None:
    words = [*WORDS[:3], WORDS[3], "encoder.hidden_size=8"]
    jobs = start(tmp_path, search("encoder.dropout=0.1,7", trials=2), lambda at, job: math.nan, words=words)
    assert [job["encoder.dropout"] for job in jobs] == ["0.1", "7"]
    with pytest.raises(UserError, match="dropout"):
        start(tmp_path / "other", search("encoder.dropout=7,8"))


def test_pruning_compares_the_curve_with_the_median_of_whole_trials(tmp_path: Path) -> None:
    searched = search(trials=7)
    seen: list[str | None] = []

    def value(number: int, job: dict[str, str]) -> float:
        watch, bad = Watch(tmp_path, number, prune=True), number in (2, 6)
        for epoch, loss in enumerate((0.9, 0.8, 0.7)):
            watch.report(epoch, loss + bad, lower_is_better=True)
            Watch(tmp_path, number, prune=True).report(epoch, 0.0, lower_is_better=True)  # once more, after a kill
            seen.append(watch.behind())
        return math.inf if seen[-1] else 0.7

    first = start(tmp_path, searched, value)
    assert seen[:19] == [None] * 19  # five whole trials, and an epoch
    assert seen[19] == "after epoch 1 its validation curve was behind the median of the trials before"
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.COMPLETE] * 6 + [TrialState.PRUNED]
    assert start(tmp_path, searched, lambda at, job: math.inf if at == 6 else 0.7) == first
    assert len(trials(tmp_path)) == 7
    assert start(tmp_path, search(trials=7, prune=False), lambda at, job: 0.7) == first
    assert trials(tmp_path)[-1].state == TrialState.COMPLETE
    assert len(trials(tmp_path)) == 8


@pytest.mark.parametrize(("objective", "sign"), [("log_loss", 1), ("auroc", -1)])
def test_the_direction_is_that_of_the_objective(tmp_path: Path, objective: str, sign: int) -> None:
    words = [*WORDS, f"objective={objective}"]

    def value(number: int, job: dict[str, str]) -> float:
        Watch(tmp_path, number, prune=True).report(0, 0.5, lower_is_better=True)
        return 0.7

    start(tmp_path, search(trials=1), value, words=words)
    [trial] = trials(tmp_path)
    assert trial.intermediate_values == {0: sign * 0.5}
    study = optuna.load_study(study_name="all", storage=JournalStorage(JournalFileBackend(str(tmp_path / STUDIES))))
    assert (study.direction == optuna.study.StudyDirection.MAXIMIZE) == (sign < 0)


def test_a_study_of_other_axes_or_of_another_start_is_refused(tmp_path: Path) -> None:
    start(tmp_path, search())
    for other in (search("encoder.dropout=interval(0,1)"), search("seed=0,1"), search("task.pooling=choice(last)")):
        with pytest.raises(UserError, match="other axes or another objective: choose another sweep=NAME"):
            start(tmp_path, other)
    with pytest.raises(UserError, match="another objective"):
        start(tmp_path, search(), words=[*WORDS, "objective=auroc"])
    with studies_opened(tmp_path, search(), WORDS, None), pytest.raises(UserError, match="in use by another start"):
        start(tmp_path, search())


@pytest.mark.parametrize(
    "harm",
    [
        {"values": {"trusted": "[subprocess]"}},
        {"values": {"overwrite": "true"}},
        {"values": {"task.pooling": "max,trusted=[subprocess]"}},
        {"values": {"encoder.hidden_size": "8 overwrite=true"}},
        {"values": {"encoder.hidden_size": "640"}},
        {"number": 7},
        {"number": "0"},
    ],
    ids=str,
)
def test_a_journal_of_a_stranger_says_nothing_but_values_of_the_axes(tmp_path: Path, harm: dict[str, Any]) -> None:
    start(tmp_path, search(trials=2))
    lines = []
    for line in (tmp_path / STUDIES).read_text().splitlines():
        entry = json.loads(line)
        if job := entry.get("user_attr", {}).get("job"):
            values = job["values"] | harm.get("values", {})
            entry["user_attr"]["job"] = job | harm | {"values": values}
        lines.append(json.dumps(entry))
    (tmp_path / STUDIES).write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="that this search cannot have asked for"):
        start(tmp_path, search(trials=3))


@pytest.mark.parametrize("line", ['{"op_code": 99}', "not JSON", '{"op_code": 0, "worker_id": "w", "study_name": 3}'])
def test_a_damaged_journal_is_one_sentence(tmp_path: Path, line: str) -> None:
    start(tmp_path, search(trials=1))
    known = (tmp_path / STUDIES).read_text()
    (tmp_path / STUDIES).write_text(f"{line}\n{known}")
    with pytest.raises(UserError, match="is damaged"):
        start(tmp_path, search(trials=2))
