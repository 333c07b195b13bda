"""Memory for training: what a step frees stays with the process for the next step; what to do where it runs out."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from clm_dl.errors import UserError
from clm_dl.tasks.options import NetworkOptions

# glibc's mallopt: free memory at the heap's end above which it goes back to the system; allocations from which on each
# gets pages of
# its own; the number of those
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
LARGEST = 2**31 - 1
USUAL = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}  # where glibc's own adaptation ends up


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within it, freed memory is not given back to the operating system.

    By default glibc returns every tensor of more than 32 MiB at once, and the next step has it mapped and zeroed page
    by page. Nothing but speed and the resident memory of the process changes; other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, LARGEST)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


@contextmanager
def shortage_said(options: NetworkOptions, device: torch.device) -> Iterator[None]:
    """Within it, a device that is out of memory is one sentence: with which batches, and which to try."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        name = "max_tokens_per_batch" if options.max_tokens_per_batch else "batch_size"
        tried = int(getattr(options, name))
        # "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of … Of the allocated memory …"
        said = "; ".join(sentence.rstrip(".") for sentence in str(error).split(". ")[1:3]) or str(error)
        half = f"set task.{name}={tried // 2}" if tried > 1 else "choose a smaller encoder or sequence.max_tokens"
        raise UserError(f"out of memory with task.{name}={tried} on {device} ({said}): {half}") from error
