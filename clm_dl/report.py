"""clm-report: one or many run directories, or a sweep → comparison table and HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clm_dl.command import command
from clm_dl.config import plain
from clm_dl.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("report")
def main(config: DictConfig) -> None:
    """Compare finished runs; paired statements only between runs with the same fingerprint."""
    from clm_dl.experiment.output import check_output
    from clm_dl.experiment.run_files import read_results, read_status
    from clm_dl.experiment.sweep.place import REPORT, TRIALS, check_place
    from clm_dl.experiment.sweep.summary import sum_up
    from clm_dl.experiment.sweep.trials import find_runs
    from clm_dl.visual.html import render_report
    from clm_dl.visual.terminal import print_runs
    from clm_dl.writing import write_text

    given, sweep = plain(config.runs), config.sweep
    if given is None and sweep is None:
        raise UserError("runs is not set: write runs=[runs/a, runs/b], or sweep=FOLDER")
    if given is not None and sweep is not None:
        raise UserError("runs= and sweep= make two reports: leave one out")
    default = Path(REPORT) if sweep is None else Path(sweep) / REPORT
    output = check_output(config.output or default, formats=(".html",), overwrite=config.overwrite)
    if sweep is not None:
        check_place(Path(sweep), (TRIALS,), overwrite=config.overwrite)
        sum_up(Path(sweep), plain(config.trusted), page=output)
        return
    paths = given if isinstance(given, list) else [given]
    found = {folder.resolve(): folder for path in paths for folder in find_runs(Path(path))}  # each once
    folders = list(found.values())
    states = {folder: read_status(folder)["state"] for folder in folders}
    runs = [read_results(folder, plain(config.trusted)) for folder, state in states.items() if state == "finished"]
    if not runs:
        raise UserError("no finished run among " + ", ".join(map(str, folders)) + ": train one first")
    print_runs([results for questions in runs for results in questions])
    left_out = [f"{folder.name} ({state})" for folder, state in states.items() if state != "finished"]
    title = runs[0][0].config["task"]["name"] if len(runs) == 1 else ""
    write_text(output, render_report(runs, title=title, left_out=left_out))
    print(f"{len(runs)} of {len(folders)} runs finished: {output}")


if __name__ == "__main__":
    main()
