"""clm-report: one or many run directories → comparison table and HTML."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig

from clm_dl.config import command
from clm_dl.errors import MissingFile
from clm_dl.run import load_run
from clm_dl.visual.html import render_report
from clm_dl.visual.terminal import print_runs


@command("report")
def main(config: DictConfig) -> None:
    """Compare finished runs; paired statements only between runs with the same fingerprint."""
    given = config.runs if isinstance(config.runs, ListConfig) else [config.runs]
    folders = [folder for path in given for folder in run_folders(Path(path))]
    runs = [load_run(folder) for folder in folders]
    print_runs(runs := [run for run in runs if run.status["state"] == "finished"])
    output = Path(config.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render_report([run.path for run in runs]))
    print(f"{len(runs)} of {len(folders)} runs finished: {output}")


def run_folders(path: Path) -> list[Path]:
    """`path` itself if it is a run directory, else every run directory below it."""
    found = sorted(file.parent for file in path.glob("**/status.json"))
    folders = [folder for folder in found if not any(parent in found for parent in folder.parents)]
    if not folders:
        raise MissingFile(f"no run directory in {path}: give the folder that clm-train printed, or one above it")
    return folders


if __name__ == "__main__":
    main()
