"""clm-doctor: every file of a run or of a store compared with its checksum; exit code 0 only if all are sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clm_dl.command import command
from clm_dl.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


@command("doctor")
def main(config: DictConfig) -> None:
    """Print a line a file: ok, DAMAGED and how, or unknown where there is no checksum."""
    if (config.run is None) == (config.store is None):
        raise UserError("write run=FOLDER of a run, or store=FOLDER of a store")
    what, path = ("run", Path(config.run)) if config.store is None else ("store", Path(config.store))
    found, unknown = _of_run(path) if what == "run" else _of_store(path)
    for name, fault in found.items():
        print(f"DAMAGED {name} {fault}" if fault else f"ok      {name}")
    for name in unknown:
        print(f"unknown {name}")
    damaged = [name for name, fault in found.items() if fault]
    if damaged:
        remedy = "prepare it again" if what == "store" else "bring them back from a copy, or train again"
        raise UserError(f"{what} {path} is damaged, {len(damaged)} of {len(found)} files ({damaged[0]}, …): {remedy}")
    if not found:
        raise UserError(
            f"run {path} has no manifest.json, so nobody can tell whether it is sound: it did not finish, or an older "
            "version made it; train it again"
        )
    print(f"{what} {path} is sound: {len(found)} files")


def _of_run(path: Path) -> tuple[dict[str, str | None], list[str]]:
    from clm_dl.checksums import faults
    from clm_dl.errors import MissingFile
    from clm_dl.experiment.manifest import MANIFEST, read_manifest, run_files

    if not (path / "config.yaml").is_file() and not (path / MANIFEST).is_file():
        raise MissingFile(f"{path} is no run directory: give the folder that clm-train printed")
    try:
        expected = read_manifest(path) or {}
    except UserError:
        return {MANIFEST: "is corrupt"}, run_files(path)
    return faults(path, expected), [name for name in run_files(path) if name not in expected]


def _of_store(path: Path) -> tuple[dict[str, str | None], list[str]]:
    from clm_dl.data.store.check import home_faults

    return home_faults(path), []


if __name__ == "__main__":
    main()
