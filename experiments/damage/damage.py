"""Damages files of stores and runs at random (bit flips, cuts, missing and swapped files), reads all of them, runs the
commands on them, and counts what went unseen.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.config import compose
from clm_dl.data.open import open_store
from clm_dl.data.store.store import EventStore
from clm_dl.doctor import main as doctor
from clm_dl.errors import UserError
from clm_dl.evaluate import main as evaluate
from clm_dl.experiment.experiment import run_experiment
from clm_dl.experiment.fitted import fitted_models
from clm_dl.experiment.manifest import sound_checkpoint
from clm_dl.experiment.run_files import read_results
from clm_dl.predict import main as predict
from clm_dl.report import main as report
from clm_dl.run import Run

KINDS = ("flip", "cut", "missing", "swapped")
OUTCOMES = ("said", "not read", "silent", "traceback", "unnamed", "missed by clm-doctor")
BAD = ("silent", "traceback", "unnamed", "missed by clm-doctor")
QUICK = [
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=1",
    "encoder=gru",
    "encoder.hidden_size=8",
    "bootstrap=10",
    "data.roles.customer=cust",
    "data.roles.time=ts",
    "data.roles.amount=spend",
    "data.categorical=[dept]",
]
RUNS = {
    "churn": ["experiment=churn_events", "snapshots.horizon_days=28", "baselines=[recency,logistic]"],
    "value": ["experiment=churn_events", "task=value", "snapshots.horizon_days=28", "baselines=[past_mean,ridge]"],
    "ranked": ["experiment=next_item_events", "data.roles.item=sku", "baselines=[popular,markov]"],
}


def write_log(path: Path, seed: int = 0) -> None:
    """120 customers who buy every few days of 2021 until they stop."""
    rng, parts = np.random.default_rng(seed), []
    for number in range(120):
        day = np.cumsum(rng.exponential(rng.uniform(2, 14), 120))
        day = day[day < min(rng.uniform(60, 500), 300)]
        ts = pd.Timestamp("2021-01-01") + pd.to_timedelta(day, unit="D").round("s")
        item = rng.integers(0, 20, len(day))
        values = {"sku": [f"i{one:02d}" for one in item], "dept": np.array(["food", "toys"])[item % 2]}
        parts.append(pd.DataFrame({"cust": f"c{number:03d}", "ts": ts, **values}))
    log = pd.concat(parts, ignore_index=True)
    log.assign(spend=np.round(rng.gamma(2.0, 8.0, len(log)), 2)).to_csv(path, index=False)


def train(folder: Path, log: Path, name: str) -> Run:
    """A tiny run of one kind, its store in `folder`."""
    paths = [f"data.path={log}", f"paths.data_dir={folder / 'data'}", f"paths.output_dir={folder / name}"]
    return Run(run_experiment(compose("train", [*RUNS[name], *QUICK, *paths]), log=lambda text: None))


# --- everything that is read


def read_store(store: EventStore) -> Iterator[Any]:
    """All that a store says."""
    yield (store.end, store.counts, store.fingerprint, store.fields, store.customer_ids, store.offsets, store.time)
    yield (store.order_start, store.static)
    for field in store.fields:
        yield store.column(field.name)
        if field.kind == "categorical":
            yield store.dictionary(field.name)


def read_run(path: Path) -> Iterator[Any]:
    """All that showing, predicting, evaluating and going on read of a run."""
    run = Run(path)
    yield (run.config, run.status, run.metrics, run.scores, run.history)
    trained = run.trained
    assert trained.network is not None
    yield ([value.numpy() for value in trained.network.state_dict().values()], trained.schema)
    assert trained.vocabulary is not None
    yield (trained.vocabulary.to_json(), [one and one.to_dict() for one in trained.calibrations.values()])
    if trained.task.catalogue is not None:
        yield trained.task.catalogue.to_frame()
    for results in read_results(path):
        yield (results.cards, results.backtest, results.timing, results.status, results.metrics)
    for question in trained.task.questions:
        best = run.metrics["best_baseline"]["name"]
        yield [repr(vars(one.model)) for one in fitted_models(trained, question, best).values()]
    for name in ("last", "best"):
        sound_checkpoint(path / "checkpoints" / f"{name}.ckpt")
        yield (path / "checkpoints" / f"{name}.ckpt").read_bytes()


def digest(parts: Iterator[Any]) -> str:
    """Of everything that was read, to the bit."""
    found = hashlib.blake2b(digest_size=16)
    with contextlib.redirect_stdout(io.StringIO()):
        for part in parts:
            for value in part if isinstance(part, tuple) else (part,):
                found.update(_bytes(value))
    return found.hexdigest()


def _bytes(value: Any) -> bytes:
    if isinstance(value, pd.DataFrame):
        return value.to_csv().encode()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tobytes()
    if isinstance(value, list | np.ndarray):
        return b"|".join(map(_bytes, value))
    return value if isinstance(value, bytes) else repr(value).encode()


# --- damage


def damage(path: Path, other: Path, kind: str, rng: np.random.Generator) -> None:
    """Change `path`, or take the contents of `other`, in a way that leaves it unlike it was."""
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: rng.integers(0, len(content))])
    elif kind == "swapped" and other.read_bytes() != content:
        path.write_bytes(other.read_bytes())
    else:
        flipped = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            flipped[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(flipped if flipped != content else content[:-1])


def ran(main: Callable[[], Any], *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; its own exceptions are tracebacks."""
    sys.argv, code = ["clm", *words], 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as error:
            code = int(str(error.code or 0))
    return code, out.getvalue(), errors.getvalue()


def commands(path: Path) -> Iterator[Any]:
    """What predicting, evaluating and reporting answer; a sentence is a UserError."""
    output = path.parent / "output.parquet"
    reads = [(predict, f"run={path}", "model=best", f"output={output}")]
    reads += [(predict, f"run={path}", "model=network", f"output={output}")]
    reads += [(evaluate, f"run={path}", "bootstrap=5"), (report, f"runs={path}", f"output={path.parent}/report.html")]
    for main, *words in reads:
        output.unlink(missing_ok=True)
        code, out, errors = ran(main, *words)
        if code:
            raise UserError(errors)
        answer = "\n".join(line for line in out.splitlines() if not line.startswith("note: "))  # of a lost manifest
        yield (answer, output.read_bytes() if output.is_file() else b"")


def outcome(reads: Sequence[Callable[[], Iterator[Any]]], sound: Sequence[str], file: Path) -> str:
    """What became of one damage; a sentence must name the file, or the folder where it was."""
    said = False
    for read, expected in zip(reads, sound, strict=True):
        try:
            if digest(read()) != expected:
                return "silent"
        except (UserError, OSError) as error:
            text = str(error).strip()
            named = file.name in text or f"no event store at {file.parent}" in text
            if not named or "\n" in text:
                return "unnamed"
            said = True
        except Exception:
            return "traceback"
    return "said" if said else "not read"


def study(folder: Path, runs: Mapping[str, Run], number: int, seed: int = 0, every: int = 5) -> pd.DataFrame:
    """One row a damage: of, kind, file, outcome. After one in `every` the commands run as well, and not only what they
    read with; 0: never.
    """
    rng, rows = np.random.default_rng(seed), list[dict[str, str]]()
    tried = folder / "tried"
    places: dict[str, tuple[str, Path, list[Callable[[], Iterator[Any]]]]] = {}
    for name, run in runs.items():
        data, home = run.config["data"], {**run.config["paths"], "store": str(tried)}
        places[f"run, {name}"] = ("run", run.path, [lambda: read_run(tried), lambda: commands(tried)])
        opened = open_store(data, {**home, "store": str(folder / f"store_{name}")}).path.parent
        asked = [lambda: read_store(EventStore(tried)), lambda data=data, home=home: read_store(open_store(data, home))]
        places[f"store, {name}"] = ("store", opened, asked)  # type: ignore[assignment]
    sound: dict[str, list[str]] = {}
    for turn in range(-len(places), number):
        name = list(places)[turn % len(places)]
        what, place, reads = places[name]
        reads = reads[: 2 if (every and turn // len(places) % every == 0) or turn < 0 < every else 1]
        shutil.rmtree(tried, ignore_errors=True)
        shutil.copytree(place, tried)
        if turn < 0:  # as it is
            sound[name] = [digest(read()) for read in reads]
            assert ran(doctor, f"{what}={tried}")[0] == 0, name
            continue
        files = sorted(path for path in tried.rglob("*") if path.is_file())
        file, other = (files[int(one)] for one in rng.choice(len(files), 2, replace=False))
        kind = KINDS[int(rng.integers(len(KINDS)))]
        damage(file, other, kind, rng)
        seen = ran(doctor, f"{what}={tried}")[0] != 0
        found = outcome(reads, sound[name][: len(reads)], file)
        known = "missed by clm-doctor" if found not in BAD and not seen else found
        rows.append({"of": name, "kind": kind, "file": str(file.relative_to(tried)), "outcome": known})
    shutil.rmtree(tried)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> str:
    """Outcomes by what was damaged, as Markdown."""
    lines = ["| of | damages | " + " | ".join(OUTCOMES) + " |", "|---" * (len(OUTCOMES) + 2) + "|"]
    for name, part in [*rows.groupby("of"), ("all", rows)]:
        count = Counter(part["outcome"])
        lines.append(f"| {name} | {len(part)} | " + " | ".join(str(count[one]) for one in OUTCOMES) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=5, help="after one in so many damages the commands run, too")
    options = parser.parse_args()
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder / "log.csv")
        runs = {kind: train(folder, folder / "log.csv", kind) for kind in RUNS}
        rows = study(folder, runs, options.damages, options.seed, options.every)
    rows.to_csv(here / "results.csv", index=False)
    readme, (start, end) = here / "README.md", ("<!-- results -->", "<!-- end of results -->")
    text = readme.read_text()
    before, after = text.partition(start)[0], text.partition(end)[2]
    readme.write_text(f"{before}{start}\n\n{table(rows)}\n\n{end}{after}")
    print(table(rows))
    raise SystemExit(int(rows["outcome"].isin(BAD).any()))


if __name__ == "__main__":
    main()
