"""Lines of trials that run side by side: each says whose it is, and comes whole."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO


class _Prefixed(io.TextIOBase):
    """Passes on whole lines with `prefix` in front; the rest waits for its end."""

    def __init__(self, stream: TextIO, prefix: str):
        self._stream, self._prefix, self._rest = stream, prefix, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._prefix}{line.rpartition(chr(13))[2]}\n" for line in lines))
            self._stream.flush()
        return len(text)

    def end(self) -> None:
        if self._rest:
            self.write("\n")


@contextmanager
def prefixed(number: int) -> Iterator[None]:
    """What is printed in the block, on both streams, has the number of the trial in front."""
    out, err = (_Prefixed(stream, f"[{number}] ") for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            out.end()
            err.end()
