"""Text files as DuckDB reads them: whole, uncompressed and in UTF-8, whatever they were."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from clm_dl.errors import UserError

COMPRESSED = (".gz", ".bz2", ".zst", ".zip")
FIRST = 1 << 20  # bytes that tell an encoding; what they do not show, DuckDB finds as invalid
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def inner_suffix(file: Path) -> str:
    """The suffix of what a file holds: .csv of log.csv and of log.csv.gz."""
    suffix = file.suffix.lower()
    return Path(file.stem).suffix.lower() if suffix in COMPRESSED else suffix


def decompressed(file: Path, folder: Path) -> Path:
    """The file, or what it holds written into `folder` where it is compressed; a damaged one is refused whole."""
    if file.suffix.lower() not in COMPRESSED:
        return file
    target = folder / f"{len(list(folder.iterdir()))}_{file.stem}"
    try:
        with _opened(file) as content, target.open("wb") as out:
            shutil.copyfileobj(content, out, 1 << 20)
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, RuntimeError, pa.ArrowException) as error:
        raise UserError(
            f"{file} is cut short or damaged ({str(error).splitlines()[0]}): get it again, whole"
        ) from error
    except OSError as error:
        if error.errno is not None:  # the disk
            raise
        raise UserError(f"{file} is cut short or damaged ({error}): get it again, whole") from error
    return target


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    suffix = file.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX/" not in name]
            if len(members) != 1:
                raise UserError(
                    f"{file} holds {len(members)} files ({', '.join(members[:5])}): unpack it and give the log's own "
                    "file or folder"
                )
            with archive.open(members[0]) as content:
                yield content
        return
    openers: dict[str, Callable[[Path], Any]] = {
        ".gz": gzip.open,
        ".bz2": bz2.open,
        ".zst": lambda path: pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"),
    }
    with openers[suffix](file) as content:
        yield content


def in_utf8(file: Path, folder: Path, encoding: str | None, say: Callable[[str], None], *, whole: bool = False) -> Path:
    """The file, or a copy in UTF-8 in `folder`. `encoding`: None finds it out and says it where it is no UTF-8.

    Args:
        whole: look at all of the file, not at its first MiB, to find the encoding out.
    """
    found = encoding or detect(file, whole=whole)
    try:
        name = codecs.lookup(found).name
        "".encode(name)  # hex and others are no encodings of text
    except LookupError as error:
        raise UserError(f"data.encoding must be a name such as utf-8, cp1252 or utf-16, got {encoding!r}") from error
    if name == "utf-8" or (name == "utf-8-sig" and encoding is None):
        return _with_one_newline(file, folder) if _has_two_newlines(file) else file
    if encoding is None:
        say(f"{file.name} is no UTF-8: read as {found} (data.encoding)")
    target = folder / f"{len(list(folder.iterdir()))}_{file.name}"
    try:
        with file.open(encoding=name, newline="") as source, target.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except UnicodeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{file.name} is not written in {found} ({reason}): set data.encoding to that of the file, such as cp1252 "
            "or utf-16, or save it as UTF-8"
        ) from error
    return target


def detect(file: Path, *, whole: bool = False) -> str:
    """A text's encoding: by its mark, the zero bytes of UTF-16, UTF-8 if it is that, else Windows' or ISO's Latin."""
    with file.open("rb") as content:
        start = content.read(-1 if whole else FIRST)
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    head = start[: 1 << 12]
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if len(zeros) > 1 and zeros.count(0) > 0.4 * len(zeros):
            return name
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(start)
    if text.isascii():
        return "utf-8"
    other, wrong = (len(text) - len(text.encode(name, "ignore").decode(name)) for name in ("ascii", "utf-8"))
    if wrong <= other - wrong:  # a damaged line in a file of UTF-8 stays one
        return "utf-8"
    try:
        codecs.getincrementaldecoder("cp1252")().decode(start)
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _has_two_newlines(file: Path) -> bool:
    """Whether lines end in several ways at the start or the end of a file, which DuckDB cannot read."""
    with file.open("rb") as content:
        start = content.read(FIRST)
        content.seek(max(file.stat().st_size - FIRST, 0))
        text = start + content.read()
    both, all_lines = text.count(b"\r\n"), text.count(b"\n")
    return 0 < both < all_lines


def _with_one_newline(file: Path, folder: Path) -> Path:
    """A copy whose lines end in \\n; what stands in quotes stays as it is, if every quote is closed."""
    target = folder / f"{len(list(folder.iterdir()))}_{file.name}"
    with file.open("rb") as source, target.open("wb") as out:
        closed = sum(block.count(b'"') for block in iter(lambda: source.read(1 << 20), b"")) % 2 == 0
        source.seek(0)
        quotes, left = 0, b""
        while block := left + source.read(1 << 20):
            left = b"\r" if block.endswith(b"\r") and len(block) > 1 else b""  # its \n may come next
            parts = block[: len(block) - len(left)].split(b'"')
            outside = (
                part if closed and (quotes + i) % 2 else part.replace(b"\r\n", b"\n") for i, part in enumerate(parts)
            )
            out.write(b'"'.join(outside))
            quotes += len(parts) - 1
    return target


def excel_separator(file: Path) -> str | None:
    """The mark that a first line such as sep=; names for Excel; None where the first line is another."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        found = re.fullmatch('"?sep=(.)"?', lines.readline().rstrip("\n"))
    return found.group(1) if found else None


def header(file: Path, separator: str, quote: str, skip: int) -> list[str]:
    """The first line's values of a text file in UTF-8."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for _ in range(skip):
            lines.readline()
        if len(separator) > 1:
            return lines.readline().rstrip("\r\n").split(separator)
        options: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
        return next(csv.reader(lines, delimiter=separator, **options), [])


def open_quote(file: Path, separator: str) -> tuple[int, str] | None:
    """Number and text of the first line in which a cell begins with a quote and goes on behind the one that ends it."""
    broken = re.compile(rf'(?:^|{re.escape(separator)})"(?:[^"]|"")*"(?!"|\s*(?:{re.escape(separator)}|$))')
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        return next(((i, line.strip()) for i, line in enumerate(lines, 1) if broken.search(line)), None)


def has_separator(file: Path) -> bool:
    """Whether a text's first line is divided by a mark, not by blanks."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = lines.readline()
    return any(mark in first for mark in ",;|\t")


def literal(file: Path) -> str:
    """A path for DuckDB, which reads *, ? and [ in a name as a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(file))
