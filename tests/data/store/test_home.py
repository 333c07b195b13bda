"""Homes of stores: never into somebody's folder, nothing of theirs removed, and whoever reads keeps what it opened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.log.prepare import prepare_store
from clm_dl.data.open import ensure_store, open_store
from clm_dl.data.store.files import write_store
from clm_dl.data.store.home import sweep
from clm_dl.data.store.store import EventStore, Field
from clm_dl.errors import UserError

ROLES = {"customer": "id", "time": "when"}


def data_of(log: Path, customers: str, **options: object) -> dict[str, object]:
    """The configuration of a log in which every letter of `customers` has an event."""
    log.parent.mkdir(exist_ok=True)
    log.write_text("id,when,n\n" + "".join(f"{name},2020-01-0{i + 1},{i}\n" for i, name in enumerate(customers)))
    return {"path": str(log), "roles": ROLES, **options}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(home: Path) -> set[str]:
    return {path.name for path in home.iterdir() if path.is_dir()}


def version_1(store: EventStore, folder: Path) -> None:
    """The store as version 1 wrote it: in the folder itself."""
    shutil.copytree(store.path, folder)
    meta = {key: value for key, value in store.meta.items() if key != "configuration"} | {"version": 1}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))


# --- somebody's folder


FOREIGN = {
    "log": {"mine/log.csv": "id,when\n"},
    "meta": {"mine/meta.json": '{"version": 2, "name": "my project"}', "mine/time.npy": "x"},
    "checkpoint": {"mine/meta.json": '{"version": 1, "sizes": {}, "checksums": {}, "fingerprint": "x"}'},
    "no meta": {"mine/meta.json": "{", "mine/notes.txt": "x"},
    "pointer": {"mine/current.json": '{"format": "clm_dl event store", "folder": "x"}'},
    "folder": {"mine/sub/notes.txt": "x"},
    "file": {"mine": "x"},
}


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_is_written_into_somebodys_folder(tmp_path: Path, what: str) -> None:
    home = tmp_path / "here" / "mine"
    for name, text in FOREIGN[what].items():
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(text)
    before = contents(tmp_path / "here")
    data = data_of(tmp_path / "log" / "log.csv", "ab")
    paths = {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "run"), "store": str(home)}
    simulated = {"name": "simulator", "world": "rfm", "num_customers": 5, "num_days": 30, "seed": 0}
    for one in ({"name": "events", **data}, simulated):
        with pytest.raises(UserError, match=r"mine .*: let paths.store name a (new|folder)") as error:
            open_store(one, paths)
        assert "\n" not in str(error.value)
    assert contents(tmp_path / "here") == before


def test_an_absent_or_empty_folder_or_a_home_is_fine_and_what_else_lies_there_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for home in (tmp_path / "deep" / "absent", tmp_path / "empty"):
        store = prepare_store(data_of(tmp_path / "log.csv", "ab"), home)
        for note in (home, store.path):
            (note / "notes.txt").write_text("mine")
        (home / ".staged-mine").mkdir()
        for name in ("notes.txt", "lock"):
            (home / ".staged-mine" / name).write_text("mine")
        (tmp_path / f".{home.name}-staged-mine").mkdir(exist_ok=True)
        (tmp_path / f".{home.name}-staged-mine" / "notes.txt").write_text("mine")
        os.utime(tmp_path / f".{home.name}-staged-mine", (0, 0))
        first = store.path
        del store
        prepare_store(data_of(tmp_path / "log.csv", "abc"), home)
        assert EventStore(home).customer_ids.tolist() == ["a", "b", "c"]
        assert contents(first) == {"notes.txt": b"mine"}
        assert (home / "notes.txt").read_text() == (home / ".staged-mine" / "notes.txt").read_text() == "mine"
        assert (tmp_path / f".{home.name}-staged-mine" / "notes.txt").read_text() == "mine"


def test_a_folder_that_a_failure_made_is_gone_and_one_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for home in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(ValueError, match="has no events"):
            prepare_store(data_of(tmp_path / "log.csv", ""), home)
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "empty"}
    assert list((tmp_path / "empty").iterdir()) == []


# --- immutable


def test_two_configurations_of_one_log_lie_side_by_side(tmp_path: Path) -> None:
    plain = data_of(tmp_path / "log.csv", "ab", name="events")
    other = {**plain, "numeric": ["n"]}
    paths = {"data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / "run"), "store": None}
    said: list[str] = []
    folders = [open_store(one, paths, said.append).path for one in (plain, other, plain, other)]
    assert folders[:2] == folders[2:]
    assert [one.fingerprint for one in map(EventStore, folders[:2])] == [folder.name for folder in folders[:2]]
    assert [("up to date" in line) for line in said if "store" in line] == [True, True]
    assert EventStore(folders[0].parent).path == folders[1]
    open_store(plain, paths)
    assert EventStore(folders[0].parent).path == folders[0]
    assert open_store(plain, {**paths, "store": str(folders[0])}).path == folders[0]  # as clm-prepare printed it


def test_a_superseded_store_stays_as_it_is_while_somebody_reads_it(tmp_path: Path) -> None:
    home, log = tmp_path / "store", tmp_path / "log.csv"
    store = ensure_store(data_of(log, "bcd"), home)
    before = contents(store.path)
    newer = ensure_store(data_of(log, "abcd"), home)
    assert (newer.num_customers, newer.path.parent) == (4, home)
    assert contents(store.path) == before
    assert store.customer_ids.tolist() == ["b", "c", "d"]  # read only now
    assert names(home) == {store.fingerprint, newer.fingerprint}
    del store, newer
    ensure_store(data_of(log, "abcd"), home)
    assert names(home) == {EventStore(home).fingerprint}


@pytest.mark.slow
def test_another_process_prepares_and_sweeps_and_a_reader_keeps_its_own(tmp_path: Path) -> None:
    home, log = tmp_path / "store", tmp_path / "log.csv"
    store = ensure_store(data_of(log, "bcd"), home)
    data_of(log, "abcdef")
    words = [f"data.path={log}", "data.roles.customer=id", "data.roles.time=when", f"paths.store={home}"]
    command = [sys.executable, "-m", "clm_dl.prepare", "data=events", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert EventStore(home).num_customers == 6
    assert store.customer_ids.tolist() == ["b", "c", "d"]
    assert EventStore(store.path).customer_ids.tolist() == ["b", "c", "d"]


@pytest.mark.slow
def test_several_writers_of_one_home(tmp_path: Path) -> None:
    data = [data_of(tmp_path / f"{number}.csv", "abc"[: number % 3 + 1]) for number in range(6)]

    def write(number: int) -> int:
        return prepare_store(data[number % 6], tmp_path / "home").num_customers

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(write, range(24)))
    assert found == [number % 3 + 1 for number in range(24)]
    assert len(names(tmp_path / "home")) == 6
    assert {path.name for path in (tmp_path / "home").iterdir() if path.is_file()} == {"current.json"}


def test_what_differs_from_its_fingerprint_is_replaced_or_stepped_around(tmp_path: Path) -> None:
    def write(amount: float) -> EventStore:
        return write_store(
            tmp_path / "home",
            customer_ids=np.array([1]),
            offsets=np.array([0, 1]),
            time=np.array([1]),
            columns={"amount": np.array([amount])},
            fields=[Field("amount", "numeric")],
            dictionaries={},
            end=2,
            fingerprint="one",
        )

    first = write(1.0)
    assert write(1.0).path == first.path
    second = write(2.0)
    assert (second.path.name, second.column("amount").tolist(), first.column("amount").tolist()) == ("one-1", [2], [1])
    del first, second
    sweep(tmp_path / "home", tmp_path / "home" / "one-1")
    assert write(3.0).column("amount").tolist() == [3]
    assert names(tmp_path / "home") == {"one"}
    (tmp_path / "home" / "one" / "time.npy").write_bytes(b"")
    assert write(3.0).column("amount").tolist() == [3]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), Path.unlink])
@pytest.mark.parametrize("name", ["time.npy", "meta.json", "../current.json"])
def test_a_damaged_store_is_prepared_again(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    data = data_of(tmp_path / "log.csv", "ab")
    folder = prepare_store(data, tmp_path / "home").path
    before = contents(folder)
    damage(folder / name)
    assert ensure_store(data, tmp_path / "home").customer_ids.tolist() == ["a", "b"]
    assert EventStore(tmp_path / "home").num_events == 2
    assert contents(EventStore(tmp_path / "home").path) == before


# --- version 1


def test_a_store_of_version_1_opens_and_is_prepared_again_without_harm(tmp_path: Path) -> None:
    data, home = data_of(tmp_path / "log.csv", "ab"), tmp_path / "home"
    version_1(prepare_store(data, tmp_path / "new"), home)
    (home / "notes.txt").write_text("mine")
    old = EventStore(home)
    assert (old.path, old.customer_ids.tolist()) == (home, ["a", "b"])
    new = ensure_store(data, home)
    assert (new.path.parent, new.meta["version"]) == (home, 2)
    pd.testing.assert_frame_equal(old.static, new.static)
    assert old.customer_ids.tolist() == ["a", "b"]
    del old
    ensure_store(data, home)
    assert {path.name for path in home.iterdir()} == {new.fingerprint, "current.json", "notes.txt"}
    assert EventStore(home).num_events == 2
