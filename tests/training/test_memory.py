"""Freed memory is kept while training; an error inside goes through; where a device has too little, half the batch is
the remedy.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.run import Run
from clm_dl.tasks.network import SnapshotNetwork
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


# --- where it runs out

CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.25 GiB is "
    "free. Including non-PyTorch memory, this process has 77.85 GiB memory in use."
)


@pytest.mark.parametrize(
    ("options", "tried", "remedy"),
    [
        ((), "task.max_tokens_per_batch=8192", "set task.max_tokens_per_batch=4096"),
        (("task.max_tokens_per_batch=null",), "task.batch_size=128", "set task.batch_size=64"),
        (("task.max_tokens_per_batch=1",), "task.max_tokens_per_batch=1", "choose a smaller encoder or sequence.max"),
    ],
)
def test_a_device_out_of_memory_is_a_sentence_with_half_the_batch(
    train: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[str, ...],
    tried: str,
    remedy: str,
) -> None:
    def step(self: SnapshotNetwork, batch: EventBatch) -> torch.Tensor:
        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(SnapshotNetwork, "batch_loss", step)
    with pytest.raises(UserError) as found:
        train(*options, "baselines=none", f"paths.output_dir={tmp_path / 'run'}")
    sentence = str(found.value)
    assert sentence.startswith(
        f"out of memory with {tried} on cpu (Tried to allocate 2.00 GiB; GPU 0 has a total capacity of 79.11 GiB of "
        f"which 1.25 GiB is free): {remedy}"
    )
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("failed", sentence)
