"""Run the mutants of tests/mutants.yaml, each in a copy of the repository: the tests named with it must fail.

`python tests/mutants.py [part of a name]`; ends with 1 where one survived, could not be tried, or none has that name.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from shutil import copy2, copytree, ignore_patterns
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COPIED = ("clm_dl", "configs", "experiments", "tests")  # what the tests read, beside pyproject.toml
SLOW = ["torch", "pandas", "scipy.stats", "sklearn.ensemble", "pytorch_lightning", "skops.io"]  # to import
SETTINGS = ("CI", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")  # all 1
WORKERS = 2
SECONDS = 300  # after which a run of tests counts as an error; it takes a few
RAN = 10  # pytest's exit code begins here, so that it is not mistaken for that of a process that broke
VERDICTS: dict[int | None, str] = {RAN: "SURVIVED", RAN + 1: "killed"}  # the tests passed, a test failed
PROCESSES = multiprocessing.get_context("forkserver")  # each process a fork of one that has imported SLOW


class Mutant(NamedTuple):
    """`old`, which stands once in `file`, becomes `new`, and one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]


def read_mutants(wanted: str = "") -> list[Mutant]:
    """The mutants that have `wanted` in their name."""
    entries = yaml.safe_load((ROOT / "tests" / "mutants.yaml").read_text())
    return [Mutant(**entry) for entry in entries if wanted.lower() in entry["name"].lower()]


def copy_to(folder: Path) -> Path:
    """A copy of what the tests read, without compiled files, which could hide a mutant."""
    for name in COPIED:
        copytree(ROOT / name, folder / name, ignore=ignore_patterns("__pycache__"))
    copy2(ROOT / "pyproject.toml", folder)
    return folder


def run_pytest(copy: Path, tests: list[str], output: Path) -> None:
    """In a process of its own, which ends with RAN + pytest's exit code: `tests` on the package of the copy."""
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(copy)
    os.environ["PYTHONPATH"] = sys.path[0] = str(copy)  # before an installed package, in subprocesses as well
    found = importlib.util.find_spec("clm_dl")
    if "clm_dl" in sys.modules or found is None or found.origin != str(copy / "clm_dl" / "__init__.py"):
        raise ImportError(f"{found} is not the package of the copy")
    sys.exit(RAN + pytest.main(["-p", "no:cacheprovider", "-x", "-q", *tests]))


def run(copy: Path, tests: list[str]) -> tuple[str, str]:
    """(verdict, output) of tests in a copy."""
    output = copy / "output.txt"
    output.write_text("")
    process = PROCESSES.Process(target=run_pytest, args=(copy, tests, output))
    process.start()
    process.join(SECONDS)
    process.kill()
    process.join()
    return VERDICTS.get(process.exitcode, "error"), output.read_text()


def run_mutant(mutant: Mutant, copies: SimpleQueue[Path]) -> tuple[str, str]:
    """(line to print, output of pytest) of a mutant, tried in a copy that nobody else uses meanwhile."""
    copy, begun = copies.get(), time.monotonic()
    path, text = copy / mutant.file, (copy / mutant.file).read_text()
    path.write_text(text.replace(mutant.old, mutant.new))
    verdict, output = run(copy, mutant.tests) if text.count(mutant.old) == 1 else ("error", "`old` is not there once")
    path.write_text(text)
    copies.put(copy)
    return f"{verdict:8} {time.monotonic() - begun:4.0f} s  {mutant.name}", output


def main(wanted: str) -> None:
    mutants, begun, killed = read_mutants(wanted), time.monotonic(), 0
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    os.environ |= dict.fromkeys(SETTINGS, "1")
    PROCESSES.set_forkserver_preload(SLOW)
    pool, copies = ThreadPoolExecutor(WORKERS), SimpleQueue[Path]()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)  # Ctrl-C ends it
        found = [copy_to(Path(folder).resolve() / str(worker)) for worker in range(WORKERS)]
        parts = (tests[len(tests) // 2 :], tests[: len(tests) // 2])  # tests of a file share its fixtures
        for verdict, output in pool.map(run, found, filter(None, parts)):
            if verdict != VERDICTS[RAN]:
                sys.exit(f"{output}\nthe tests do not pass on the unchanged code")
        print(f"{len(tests)} tests pass on the unchanged code ({time.monotonic() - begun:.0f} s)", flush=True)
        for copy in found:
            copies.put(copy)
        for future in as_completed([pool.submit(run_mutant, mutant, copies) for mutant in mutants]):
            line, output = future.result()
            killed += line.startswith("killed")
            print(line if line.startswith("killed") else f"{line}\n{output}", flush=True)
    print(f"{killed} of {len(mutants)} mutants killed ({time.monotonic() - begun:.0f} s)")
    sys.exit(not 0 < killed == len(mutants))


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
