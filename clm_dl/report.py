"""clm-report: one or many run directories → comparison table and HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clm_dl.config import command, plain
from clm_dl.errors import MissingFile, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("report")
def main(config: DictConfig) -> None:
    """Compare finished runs; paired statements only between runs with the same fingerprint."""
    from clm_dl.experiment.output import check_output
    from clm_dl.experiment.run_files import read_results, read_status
    from clm_dl.visual.html import render_report
    from clm_dl.visual.terminal import print_runs
    from clm_dl.writing import write_text

    output = check_output(config.output, formats=(".html",), overwrite=config.overwrite)
    given = plain(config.runs)
    folders = [folder for path in (given if isinstance(given, list) else [given]) for folder in run_folders(Path(path))]
    states = {folder: read_status(folder)["state"] for folder in folders}
    runs = [read_results(folder, plain(config.trusted)) for folder, state in states.items() if state == "finished"]
    if not runs:
        raise UserError("no finished run among " + ", ".join(map(str, folders)) + ": train one first")
    print_runs([results for questions in runs for results in questions])
    left_out = [f"{folder.name} ({state})" for folder, state in states.items() if state != "finished"]
    title = runs[0][0].config["task"]["name"] if len(runs) == 1 else ""
    write_text(output, render_report(runs, title=title, left_out=left_out))
    print(f"{len(runs)} of {len(folders)} runs finished: {output}")


def run_folders(path: Path) -> list[Path]:
    """`path` itself if it is a run directory, else every run directory below it."""
    found = sorted({file.parent for name in ("status.json", "manifest.json") for file in path.glob(f"**/{name}")})
    folders = [folder for folder in found if not any(parent in found for parent in folder.parents)]
    if not folders:
        raise MissingFile(f"no run directory in {path}: give the folder that clm-train printed, or one above it")
    return folders


if __name__ == "__main__":
    main()
