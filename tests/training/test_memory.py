"""Freed memory is kept while training; an error inside goes through."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from clm_dl.training.memory import kept_memory

MEASURE = """
import resource
import torch
from clm_dl.training.memory import kept_memory

def page_faults():  # pages mapped while a tensor of 64 MiB is made and dropped again and again
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(64 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(page_faults())
with kept_memory():
    print(page_faults())
"""


def test_what_a_step_frees_serves_the_next() -> None:
    """In a process of its own: what other tests left in the heap decides what the allocator does."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert kept < usual / 2 or platform.libc_ver()[0] != "glibc"


def test_an_error_inside_goes_through() -> None:
    with pytest.raises(RuntimeError, match="inside"), kept_memory():
        raise RuntimeError("inside")
