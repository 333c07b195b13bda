"""What is for a GPU, on a machine without one: the same code runs on the CPU, and nothing is said to be measured."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clm_dl.nn import ENCODERS
from clm_dl.tasks.registry import TASKS

ROOT = Path(__file__).parent.parent
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
FIGURES = {"pipeline", "bare", "pipeline/bare", "kernel share", "compile", "peak memory"}


def lines(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.mark.slow
@without_gpu
def test_the_table_of_a_gpu_is_measured_on_none(call: Callable[..., str], tmp_path: Path) -> None:
    script = ROOT / "experiments" / "speed" / "gpu.py"
    absent = lines(call(sys.executable, script, cwd=tmp_path))
    tried = lines(call(sys.executable, script, "--device=cpu", "--customers=300", "--steps=3", cwd=tmp_path))
    for found in (absent, tried):
        assert len(found) == 6 * len(FIGURES) == len({(line["row"], line["figure"]) for line in found})
        assert {line["figure"] for line in found} == FIGURES
    assert not any(line["measured"] for line in absent)
    assert {line["figure"] for line in tried if line["measured"]} == {"pipeline", "bare", "pipeline/bare"}
    assert all(float(str(line["value"])) > 0 for line in tried if line["measured"])


@pytest.mark.slow
@without_gpu
def test_the_checks_of_a_gpu_hold_for_the_cpu_in_its_place(call: Callable[..., str], tmp_path: Path) -> None:
    printed = call(sys.executable, ROOT / "tests" / "gpu_check.py", cwd=tmp_path)
    assert printed.startswith("not measured: no GPU")
    found = lines(printed)
    assert all(line["ok"] for line in found)
    compared = {line["of"] for line in found if line["check"] == "loss"}
    assert compared == {f"encoder={name}" for name in ENCODERS} | {f"task={name}" for name in TASKS} - {"task=churn"}
    moved = {line["check"] for line in found if line["of"] == "churn" and line["measured"]}
    assert moved == {"scores on the CPU", "goes on with the CPU", "goes on with what is tested", "out of memory"}
