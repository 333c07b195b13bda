"""Checksums: CRC-32 of files, several at once, and JSON files that carry their own."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clm_dl.writing import write_text

SEAL = "checksum"  # of a JSON file: of all that it says besides
BLOCK = 1 << 20


def checksum(path: Path) -> int:
    """CRC-32 of a file, read in blocks."""
    value, block = 0, memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            value = zlib.crc32(block[:size], value)
    return value


def checksums(paths: Iterable[Path]) -> list[int]:
    """CRC-32 of every file, one thread a core: zlib lets go of the interpreter's lock."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(checksum, paths))


def faults(folder: Path, expected: Mapping[str, tuple[int, int]]) -> dict[str, str | None]:
    """What is wrong with each file of `folder` by its expected size and checksum; None: nothing."""

    def fault(name: str) -> str | None:
        path, (size, value) = folder / name, expected[name]
        try:
            if not path.is_file() or path.stat().st_size < size:
                return "is missing or cut short"
            return None if path.stat().st_size == size and checksum(path) == value else "differs from its checksum"
        except OSError as error:
            return f"cannot be read ({error.strerror})"

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip(expected, pool.map(fault, expected), strict=True))


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON with its own checksum, whole or not at all."""
    write_text(path, json.dumps({**value, SEAL: _seal(value)}, indent=1))


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Raises:
        ValueError: it is no JSON, or not what was written. OSError: it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(value, dict) or value.pop(SEAL, None) != _seal(value):
        raise ValueError("differs from its own checksum")
    return value


def _seal(value: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
