"""clm-evaluate: run directory → the network scored again, per cutoff and per slice; or frozen on later cutoffs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clm_dl.command import command
from clm_dl.config import plain
from clm_dl.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig


@command("evaluate")
def main(config: DictConfig) -> None:
    """Print the comparison overall, in parts, per cutoff and slice; write evaluation.json or backtest.json."""
    from clm_dl.data.open import open_store
    from clm_dl.experiment.manifest import MANIFEST, rewriting
    from clm_dl.experiment.rescoring import rescored
    from clm_dl.experiment.run_files import read_trained, results_of, write_json
    from clm_dl.visual.terminal import print_comparison, print_cutoffs

    trained = read_trained(Path(config.run), plain(config.trusted))
    task, path, settings = trained.task, trained.path, trained.config
    if not (path / MANIFEST).is_file():
        print(f"note: {path} has no manifest.json (runs of older versions have none), so damage to it goes unseen")
    is_table = task.settings.rule is None
    if is_table and config.cutoffs is not None:
        raise UserError(f"{path} was trained on a table without time, so it has no later cutoffs: leave cutoffs out")
    store = None if is_table else open_store(settings["data"], settings["paths"], print)
    if config.cutoffs is not None:
        _backtest(trained, store, plain(config.cutoffs), config.bootstrap)
        return
    known = [] if store is None else list(store.static.columns)
    for name in config.slices:
        if name not in known:
            raise UserError(
                f"no customer attribute {name!r} to slice by{nearest(name, known)}; the store has "
                f"{', '.join(known) or 'none'}"
            )
    scores, summary = rescored(trained, store, resamples=config.bootstrap)

    def printed(part: pd.DataFrame, *, cutoffs: bool = False) -> dict[str, Any]:
        metrics = summary(part)
        questions = results_of(task, path, settings, metrics, part)
        print_comparison(questions)
        if cutoffs:
            print_cutoffs(questions)
        return metrics

    evaluation = {"all": printed(scores, cutoffs=True)}
    for name in config.slices:
        assert store is not None
        for level, part in scores.groupby(_attribute(store, scores, name), sort=True):
            print(f"\n{name} = {level}")
            evaluation[f"{name}={level}"] = printed(part)
    with rewriting(path, "evaluation.json"):
        write_json(path / "evaluation.json", evaluation)
    print(f"evaluation: {path / 'evaluation.json'}")


def _attribute(store: Any, scores: pd.DataFrame, name: str) -> Any:
    """The value of a customer attribute as of the cutoff of each row of the Scores table, as text."""
    import pandas as pd

    from clm_dl.data.store.attributes import attributes_at

    customer = pd.Index(store.customer_ids).get_indexer(scores["customer_id"])
    cutoff = pd.to_datetime(scores["cutoff"], utc=True).dt.as_unit("us").astype("int64").to_numpy()
    attributes, place = attributes_at(store, customer, cutoff)
    return attributes[name].astype("string").fillna("missing").to_numpy()[place]


def _backtest(trained: Any, store: Any, cutoffs: Any, resamples: int) -> None:
    """Write backtest.json and the report anew, and print a line a cutoff."""
    from clm_dl.evaluation.summary import to_json
    from clm_dl.experiment.backtest import backtest
    from clm_dl.experiment.manifest import rewriting
    from clm_dl.experiment.run_files import BACKTEST, read_results, write_json
    from clm_dl.visual.drift import print_backtest
    from clm_dl.visual.html import render_report
    from clm_dl.writing import write_text

    path = trained.path
    found = to_json(backtest(trained, store, cutoffs, resamples=resamples, log=print))
    with rewriting(path, BACKTEST):
        write_json(path / BACKTEST, found)
    questions = read_results(path, trained.config["trusted"])
    report = render_report([questions], title=trained.task.name)
    with rewriting(path, "report.html"):
        write_text(path / "report.html", report)
    print_backtest(questions[0])
    print(f"backtest: {path / BACKTEST}\nreport:   {path / 'report.html'}")


if __name__ == "__main__":
    main()
