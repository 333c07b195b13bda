"""Shared fixtures: one thread for torch, small logs and stores, and finished runs."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from clm_dl.config import compose
from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.experiment.experiment import run_experiment
from clm_dl.run import Run

torch.set_num_threads(1)

# continuous integration tries the same examples each time, everybody else new ones; no example is too slow
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def small_log() -> pd.DataFrame:
    """400 lines of 30 customers over 200 days of 2020: several lines an order, two categoricals, two numerics, gaps."""
    rng = np.random.default_rng(0)
    num = 400
    customer = rng.integers(0, 30, num)
    day = rng.integers(0, 200, num)
    frame = pd.DataFrame(
        {
            "cust": [f"c{c:02d}" for c in customer],
            "ts": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(day, unit="D")
            + pd.to_timedelta(rng.integers(0, 3, num) * 6, unit="h"),
            "sku": [f"i{i}" for i in rng.integers(0, 25, num)],
            "dept": rng.choice(["food", "toys", "garden"], num, p=[0.6, 0.3, 0.1]),
            "spend": np.round(rng.gamma(2.0, 5.0, num), 2),
            "discount": np.where(rng.random(num) < 0.2, np.nan, np.round(rng.random(num), 2)),
        }
    )
    return frame


@pytest.fixture(scope="session")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EventStore]:
    """Function frame -> EventStore: customer `cust`, time `ts`; text columns are categorical, the others numeric."""

    def build(frame: pd.DataFrame, *, end: str = "2020-07-19", static: pd.DataFrame | None = None) -> EventStore:
        frame = frame.sort_values(["cust", "ts"], kind="stable")
        ids, first = np.unique(frame["cust"].to_numpy(object), return_index=True)
        columns, dictionaries, fields = {}, {}, []
        for name in frame.columns.drop(["cust", "ts"]):
            if pd.api.types.is_numeric_dtype(frame[name]):
                columns[name] = frame[name].to_numpy()
                fields.append(Field(name, "numeric"))
            else:
                columns[name], values = pd.factorize(frame[name], sort=True)
                dictionaries[name] = np.asarray(values, dtype=object)
                fields.append(Field(name, "categorical"))
        path: Path = tmp_path_factory.mktemp("store") / "store"
        return write_store(
            path,
            customer_ids=ids,
            offsets=np.append(first, len(frame)),
            time=frame["ts"].astype("datetime64[us]").astype(np.int64).to_numpy(),
            columns=columns,
            fields=fields,
            dictionaries=dictionaries,
            end=pd.Timestamp(end).value // 1000,
            fingerprint="small",
            static=static,
        )

    return build


@pytest.fixture(scope="session")
def small_store(small_log: pd.DataFrame, store_of: Callable[..., EventStore]) -> EventStore:
    return store_of(small_log)


@pytest.fixture(scope="session")
def shop_log() -> pd.DataFrame:
    """About 6,000 events of 200 customers over 300 days of 2021; each buys every few days until a day on which it
    stops.
    """
    rng = np.random.default_rng(1)
    parts = []
    for number in range(200):
        rate, stop = rng.uniform(2, 14), rng.uniform(60, 500)
        day = np.cumsum(rng.exponential(rate, 200)) + rng.uniform(0, 30)
        day = day[day < min(stop, 300)]
        parts.append(
            pd.DataFrame(
                {"cust": f"c{number:03d}", "day": day, "dept": rng.choice(["food", "toys", "garden"], len(day))}
            )
        )
    log = pd.concat(parts, ignore_index=True)
    log["ts"] = pd.Timestamp("2021-01-01") + pd.to_timedelta(log.pop("day"), unit="D").dt.round("s")
    log["spend"] = np.round(rng.gamma(2.0, 8.0, len(log)), 2)
    return log


QUICK = [
    "experiment=churn_events",
    "data.roles.customer=cust",
    "data.roles.time=ts",
    "data.roles.amount=spend",
    "data.categorical=[dept]",
    "snapshots.horizon_days=28",
    "snapshots.active_days=56",
    "encoder.hidden_size=8",
    "task.embedding.numeric_size=8",
    "task.head_size=8",
    "task.steps_per_epoch=null",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "baselines=[recency,logistic]",
    "bootstrap=50",
]


@pytest.fixture(scope="session")
def shop_csv(shop_log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "shop.csv"
    shop_log.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def train(shop_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Train a tiny network on the shop log: `train("encoder=gru", …)`; the store is shared, the run directory new."""
    data_dir = tmp_path_factory.mktemp("data")

    def run(*overrides: str, log: Callable[[str], None] = lambda text: None, **options: Any) -> Run:
        folder = tmp_path_factory.mktemp("runs") / "run"
        absent = {
            "encoder=none": "encoder.",
            "task=pretrain": "task.head_size",
        }  # what the quick settings say of what is not there
        quick = [
            text for text in QUICK if not any(text.startswith(absent[given]) for given in overrides if given in absent)
        ]
        config = compose(
            "train",
            [*quick, f"data.path={shop_csv}", f"paths.data_dir={data_dir}", f"paths.output_dir={folder}", *overrides],
        )
        return Run(run_experiment(config, log=log, **options))

    return run


@pytest.fixture(scope="session")
def run(train: Callable[..., Run]) -> Run:
    """One finished run on the shop log, for every test that only reads."""
    return train()


RING = 60  # items


@pytest.fixture(scope="session")
def ring_log() -> pd.DataFrame:
    """About 1,400 lines of 120 customers in 2021: 60 items stand in a ring and everyone buys them in turn, two an
    order.

    What comes next follows from the last item alone; how often an item is bought says nothing.
    """
    rng = np.random.default_rng(0)
    parts = []
    for number in range(120):
        size, region = 2 * int(rng.integers(3, 9)), ["north", "south"][number % 2]
        item, order = (2 * rng.integers(0, RING // 2) + np.arange(size)) % RING, np.arange(size) // 2
        minute = np.round(1440 * (rng.uniform(0, 250) + order * rng.uniform(3, 9))) + np.arange(size) % 2
        part = {
            "cust": f"c{number:03d}",
            "ts": pd.Timestamp("2021-01-01") + pd.to_timedelta(minute, unit="min"),
            "region": region,
        }
        part |= {"basket": [f"c{number:03d}-{place}" for place in order], "sku": [f"i{code:02d}" for code in item]}
        part |= {
            "dept": [["food", "toys", "garden"][code % 3] for code in item],
            "spend": np.round(rng.gamma(2.0, 5.0, size), 2),
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts).sample(frac=1.0, random_state=0, ignore_index=True)


RING_LOG = [
    "data.roles.customer=cust",
    "data.roles.time=ts",
    "data.roles.item=sku",
    "data.roles.order=basket",
    "data.roles.amount=spend",
    "data.categorical=[dept]",
    "data.static=[region]",
]
RING_QUICK = [
    "encoder=gru",
    "encoder.hidden_size=16",
    "encoder.dropout=0.1",
    "task.dropout=0.2",
    "task.size=16",
    "task.content.categorical=[dept]",
    "task.batch_size=16",
    "task.optimizer.lr=0.02",
    "trainer.max_epochs=12",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "baselines=[popular,repeat]",
    "bootstrap=50",
]


@pytest.fixture(scope="session")
def ring_csv(ring_log: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "ring.csv"
    ring_log.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def train_ranked(ring_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Train a tiny recommender on the ring's log: `train_ranked("encoder=sasrec", …)`; the store is shared, the run
    directory new.

    With `quick` nothing is drawn: no report, no figures in TensorBoard.
    """
    data_dir = tmp_path_factory.mktemp("data")

    def run(*overrides: str, log: Callable[[str], None] = lambda text: None, quick: bool = True, **options: Any) -> Run:
        folder = tmp_path_factory.mktemp("runs") / "run"
        words = [text for text in RING_QUICK if not (text.startswith("encoder.") and "encoder=none" in overrides)]
        paths = [f"data.path={ring_csv}", f"paths.data_dir={data_dir}", f"paths.output_dir={folder}"]
        config = compose("train", ["experiment=next_item_events", *RING_LOG, *words, *paths, *overrides])
        with pytest.MonkeyPatch.context() as patch:
            if quick:
                for name in ("render_report", "write_results"):
                    patch.setattr(f"clm_dl.experiment.experiment.{name}", lambda *args, **kwargs: "")
            return Run(run_experiment(config, log=log, **options))

    return run


@pytest.fixture(scope="session")
def ranked_run(train_ranked: Callable[..., Run]) -> Run:
    """One finished run on the ring's log, for every test that only reads."""
    return train_ranked(quick=False)


@pytest.fixture(scope="session")
def ring_words(ring_csv: Path) -> list[str]:
    """What `train_ranked` says, for a command line."""
    return ["experiment=next_item_events", f"data.path={ring_csv}", *RING_LOG, *RING_QUICK]


@pytest.fixture(scope="session")
def call() -> Callable[..., str]:
    """Run a command as a process of its own; its output, which a failure shows."""

    def call(*words: str | Path, cwd: Path) -> str:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CLM_DATA_DIR": "data"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        assert "Traceback" not in done.stdout
        assert "Warning" not in done.stdout
        return done.stdout

    return call


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Run a command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def command(main: Callable[[], Any], *words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["clm", *words])
        root = logging.getLogger()
        before = list(root.handlers)
        try:
            main()
        finally:  # Hydra leaves handlers that write to this test's output, which the next test's would find closed
            for handler in [handler for handler in root.handlers if handler not in before]:
                root.removeHandler(handler)

    return command


@pytest.fixture
def exits(here: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: exit code, output and errors."""

    def run(main: Callable[[], Any], *words: str) -> tuple[int, str, str]:
        code = 0
        try:
            here(main, *words)
        except SystemExit as error:
            code = int(str(error.code))
        return code, *capsys.readouterr()

    return run


DATES = {"val": ["2020-03-01", "2020-03-15"], "test": ["2020-05-01", "2020-05-15", "2020-05-29"]}


@pytest.fixture
def make_scores():
    """(models -> noise) -> Scores table; more noise is a worse model, None a constant. A tenth of test is censored."""

    def make(
        models: dict[str, float | None], num_customers: int = 120, dates: dict[str, list[str]] = DATES
    ) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        risk = rng.standard_normal(num_customers)
        frames = []
        for split, cutoffs in dates.items():
            for cutoff in cutoffs:
                label = (rng.random(num_customers) < 1 / (1 + np.exp(1.0 - 2 * risk))).astype(float)
                if split == "test":
                    label[rng.random(num_customers) < 0.1] = np.nan
                recent = rng.random(num_customers) < 0.6
                for model, noise in models.items():
                    logit = (
                        np.zeros(num_customers)
                        if noise is None
                        else 2 * risk - 1 + noise * rng.standard_normal(num_customers)
                    )
                    frame = {
                        "customer_id": [f"c{i:04d}" for i in range(num_customers)],
                        "cutoff": pd.Timestamp(cutoff, tz="UTC"),
                    }
                    frame |= {
                        "split": split,
                        "model": model,
                        "task": "churn",
                        "horizon": 28.0,
                        "score": 1 / (1 + np.exp(-logit)),
                    }
                    frames.append(
                        pd.DataFrame(
                            frame | {"score_raw": 1 / (1 + np.exp(-logit / 2)), "label": label, "recent": recent}
                        )
                    )
        return pd.concat(frames, ignore_index=True)

    return make
