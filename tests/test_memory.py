"""Freed memory is kept while training and usable as ever afterwards."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from clm_dl.memory import kept_memory

NUM = 64 << 18  # float32 values: 64 MiB


def page_faults() -> int:
    """Times the process has pages mapped while it makes and drops a large tensor again and again."""
    torch.ones(NUM)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(NUM)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_what_a_step_frees_serves_the_next() -> None:
    with kept_memory():
        kept = page_faults()
    assert kept < page_faults() / 5 or platform.libc_ver()[0] != "glibc"


def test_after_an_error_memory_goes_back_to_the_system_again() -> None:
    before = page_faults()
    with pytest.raises(RuntimeError, match="inside"), kept_memory():
        raise RuntimeError("inside")
    assert page_faults() > before / 2
