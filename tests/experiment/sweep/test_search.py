"""A search: what is a grid and what is drawn, draws that any start gives again, and lines that cannot be."""

import math
from collections.abc import Sequence
from itertools import product

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from clm_dl.composing import composed
from clm_dl.errors import MissingExtra, UserError
from clm_dl.experiment.sweep import search as search_module
from clm_dl.experiment.sweep.search import Search, at_once, read_search, sobol_jobs
from clm_dl.experiment.sweep.space import Space, read_space


def space(*words: str, draws: bool = True) -> Space:
    return read_space(OverridesParser.create().parse_overrides(list(words)), draws=draws)


def sobol(*words: str, trials: int, seed: int = 0) -> list[dict[str, str]]:
    """The jobs of a search, each by key."""
    jobs = sobol_jobs(Search("sobol", space(*words), trials, seed, prune=False))
    return [dict(text.split("=", 1) for text in job) for job in jobs]


AXES = ["lr=tag(log,interval(0.0001,0.01))", "width=int(interval(1,3))", "dropout=interval(0,0.5)"]
AXES += ["heads=range(2,9,2)", "pooling=choice(last,mean)"]


def test_commas_are_a_grid_and_the_rest_is_drawn() -> None:
    found = space("k=10", "encoder=lstm,gru", *AXES, "seed=0,1", "hydra.launcher.n_jobs=2", "k=20")
    assert found.fixed == {"k": "20"}
    assert found.grid == {"encoder": ("lstm", "gru"), "seed": ("0", "1")}
    assert list(found.drawn) == ["lr", "width", "dropout", "heads", "pooling"]


def test_without_drawing_everything_that_can_be_enumerated_is_a_grid() -> None:
    found = space("encoder=choice(lstm,gru)", "seed=range(0,3)", draws=False)
    assert found.grid == {"encoder": ("lstm", "gru"), "seed": ("0", "1", "2")}
    with pytest.raises(UserError, match="dropout is an interval, from which hparams_search=sobol"):
        space("dropout=interval(0,1)", draws=False)


def test_draws_stay_in_their_bounds_and_reach_all_of_them() -> None:
    jobs = sobol(*AXES, trials=256)
    rates, widths = [float(job["lr"]) for job in jobs], [int(job["width"]) for job in jobs]
    assert min(rates) >= 0.0001
    assert max(rates) <= 0.01
    assert sum(rate < 0.001 for rate in rates) == 128  # half of the decades, with one value in each of 256 strata
    assert all(widths.count(width) == pytest.approx(256 / 3, abs=2) for width in (1, 2, 3))
    assert all(0 <= float(job["dropout"]) <= 0.5 for job in jobs)
    for key, values in {"heads": ["2", "4", "6", "8"], "pooling": ["last", "mean"]}.items():
        assert [[job[key] for job in jobs].count(value) for value in values] == [256 / len(values)] * len(values)


def test_a_logarithmic_whole_number_is_within_its_ends() -> None:
    widths = [int(job["width"]) for job in sobol("width=tag(log,int(interval(1,64)))", trials=128)]
    assert {min(widths), max(widths)} == {1, 64}
    assert sum(width < 8 for width in widths) == pytest.approx(128 * math.log(15) / math.log(129), abs=1)


def test_every_point_of_the_grid_gets_the_same_draws() -> None:
    jobs = sobol("encoder=lstm,gru", "seed=0,1", *AXES, trials=12)
    for start in (0, 4, 8):
        points = [(job["encoder"], job["seed"]) for job in jobs[start : start + 4]]
        assert points == list(product(("lstm", "gru"), ("0", "1")))
        assert len({job["lr"] for job in jobs[start : start + 4]}) == 1
    assert len({job["lr"] for job in jobs}) == 3


def test_the_same_line_draws_the_same_and_more_trials_go_on_with_it() -> None:
    words = ["seed=0,1", *AXES]
    assert sobol(*words, trials=24) == sobol(*words, trials=24)
    assert sobol(*words, trials=11) == sobol(*words, trials=24)[:11]
    assert sobol(*words, trials=24, seed=1) != sobol(*words, trials=24)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lr=interval(1,0.1)"], r"lr must be an interval from a smaller to a larger number, got interval\(1.0, 0.1\)"),
        (["lr=tag(log,interval(0,1))"], "lr: the logarithm of an interval must begin above 0"),
        (["lr=tag(ln,interval(1,2))"], "lr: no tag 'ln' of an interval"),
        (["width=range(3,1)"], "width has no value"),
        (["width=shuffle(range(1,3))"], r"width: shuffle\(…\)"),
        (["path=choice('postgres://me:hunter2@host/db',a)"], r"write \$\{oc.env:NAME\}"),
    ],
)
def test_an_axis_that_cannot_be_is_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        space(*words)


def searched(*words: str) -> Search:
    parsed = OverridesParser.create().parse_overrides(list(words))
    common = [one.input_line or "" for one in parsed if not one.is_sweep_override()]
    return read_search(composed("train", common, None, with_hydra=True), parsed)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hparams_search=sobol", "study.trials=0"], "study.trials must be in"),
        (["hparams_search=sobol", "study.trials=1.5"], "study.trials must be a whole number"),
        (["hparams_search=sobol", "study.seed=-1"], "study.seed must be in"),
        (["hparams_search=sobol", "study.trials=null"], "study.trials is not set"),
        (["hparams_search=sobol", "study.trials=3", "seed=0,1", "k=5,10"], "less than the 4 combinations of seed, k"),
        (["hparams_search=sobol", "hydra.sweeper.params=null", "seed=0,1"], "hparams_search=sobol has nothing to draw"),
        (["hparams_search=optuna", "task=choice(churn,value)"], "task decides what Optuna optimises"),
        (["seed=0,1", "study.trials=3"], "study.trials=3, but the grid has 2 trials"),
        (["hparams_search=grid", "study.trials=24"], "the grid has 12 trials"),
    ],
)
def test_a_search_that_cannot_be_is_one_sentence(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        searched(*words)


def test_a_search_says_what_it_searches() -> None:
    found = searched("hparams_search=sobol", "study.trials=7", "seed=0,1,2", "encoder.dropout=0.1")
    assert found.told == (
        "7 trials by sobol, 2 to 3 draws of encoder.hidden_size, task.optimizer.lr for each of 3 × seed"
    )
    assert searched("hparams_search=grid", "encoder=lstm").trials == 6


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'clm-dl\[optuna\]'"):
        searched("hparams_search=optuna")


@pytest.mark.parametrize(
    ("words", "jobs"), [([], None), (["launcher=joblib"], 6), (["launcher=joblib", "hydra.launcher.n_jobs=2"], 2)]
)
def test_so_many_trials_run_at_once(words: Sequence[str], jobs: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "cores", lambda: 6)
    assert at_once(composed("train", list(words), None, with_hydra=True).hydra.launcher) == jobs
