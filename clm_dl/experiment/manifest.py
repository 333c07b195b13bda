"""manifest.json: the checksum of every file of a finished run, by which damage is noticed when a file is read.

It is written last. A run of an older version has none and is read unchecked, and so is one that did not finish.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clm_dl.checksums import checksums, faults, read_sealed, write_sealed
from clm_dl.errors import MissingFile, UserError
from clm_dl.locks import exclusive

MANIFEST = "manifest.json"
VERSION = 1
OTHERS = ("wandb", "mlruns", "mlflow")  # what other programs write, some of it after the end of the run
Expected = dict[str, tuple[int, int]]  # size and CRC-32 of a file, by its path in the run


def run_files(run: Path) -> list[str]:
    """Every file of a run but the manifest; hidden ones are locks and Hydra's."""
    paths = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    kept = [path for path in paths if not path.parts[0].startswith(OTHERS) and path.suffix not in (".tmp", ".lock")]
    visible = [path.as_posix() for path in kept if not any(part.startswith(".") for part in path.parts)]
    return sorted(name for name in visible if name != MANIFEST)


def write_manifest(run: Path) -> None:
    """The last file that a run writes."""
    _write(run, _state(run, run_files(run)))


def read_manifest(run: Path) -> Expected | None:
    """Size and checksum of every file; None of a run that has no manifest."""
    path = run / MANIFEST
    if not path.is_file():
        return None
    try:
        found = read_sealed(path)
    except ValueError as error:
        raise UserError(
            f"{path} is corrupt ({error}): bring it back from a copy, train again, or delete it to read the run "
            "unchecked"
        ) from error
    if found.get("version") != VERSION:
        raise UserError(
            f"{path} has version {found.get('version')}, this clm_dl reads version {VERSION}: delete it to read the "
            "run unchecked"
        )
    try:
        return {name: (int(file["size"]), int(file["crc32"])) for name, file in found["files"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is corrupt (it lacks {error}): delete it to read the run unchecked") from error


def sound(run: Path, name: str | Path) -> Path:
    """The path of a file of a run, found to be what the run wrote; it need not be there where no manifest says so.

    Raises:
        ValueError: it is not; the sentence names the file and what to do. FileNotFoundError: it is gone.
    """
    key, expected = Path(name).as_posix(), read_manifest(run)
    if expected and key in expected and (fault := faults(run, {key: expected[key]})[key]):
        if not (run / name).is_file():
            raise MissingFile(f"run {run} has no {key} any more: bring it back from a copy, or train again")
        raise UserError(
            f"{run / name} is corrupt (it {fault}): bring it back from a copy, or train again; if you changed it "
            f"yourself, delete {run / MANIFEST}"
        )
    return run / name


def sound_checkpoint(path: Path) -> None:
    """Raise ValueError where the checkpoint to go on from is not what a finished run wrote."""
    run = path.parent.parent
    if path.is_file():  # who reads it says where there is none
        sound(run, path.relative_to(run))


@contextmanager
def rewriting(run: Path, name: str) -> Iterator[None]:
    """A file of a finished run is written anew in the block, and the manifest goes along."""
    with exclusive(run):
        expected = read_manifest(run)
        if expected is None:
            yield
            return
        expected.pop(name, None)  # cut off in between, the file is merely not known
        _write(run, expected)
        yield
        _write(run, expected | _state(run, [name]))


def _state(run: Path, names: list[str]) -> Expected:
    sizes = [(run / name).stat().st_size for name in names]
    return dict(zip(names, zip(sizes, checksums([run / name for name in names]), strict=True), strict=True))


def _write(run: Path, expected: Expected) -> None:
    files = {name: {"size": size, "crc32": value} for name, (size, value) in sorted(expected.items())}
    write_sealed(run / MANIFEST, {"version": VERSION, "files": files})
