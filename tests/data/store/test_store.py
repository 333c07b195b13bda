"""The store on disk: round trip, corruption noticed, and never a half-written one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clm_dl.data.store.files import ColumnFile, staged_folder, write_store
from clm_dl.data.store.store import EventStore, Field, checksum


def small_store(path: Path, fingerprint: str = "one") -> EventStore:
    return write_store(
        path,
        customer_ids=np.array(["ann", "bob", "eve"], dtype=object),
        offsets=np.array([0, 2, 2, 5]),
        time=np.array([5, 9, 1, 1, 3]),
        columns={"item": np.array([0, -1, 1, 1, 0]), "amount": np.array([1.0, np.nan, 2.5, 0.0, -1.0])},
        fields=[Field("item", "categorical", "item"), Field("amount", "numeric", "amount")],
        dictionaries={"item": np.array(["a", "b"], dtype=object)},
        end=10,
        fingerprint=fingerprint,
    )


def test_round_trip(tmp_path: Path):
    store = EventStore(small_store(tmp_path / "store").path)
    assert (store.num_customers, store.num_events, store.end, store.fingerprint) == (3, 5, 10, "one")
    assert store.customer_ids.tolist() == ["ann", "bob", "eve"]
    assert store.offsets.tolist() == [0, 2, 2, 5]
    assert store.order_start.tolist() == [True, True, True, False, True]
    assert store.column("item").tolist() == [0, -1, 1, 1, 0]
    np.testing.assert_array_equal(store.column("amount"), np.array([1.0, np.nan, 2.5, 0.0, -1.0], dtype=np.float32))
    assert store.dictionary("item").tolist() == ["a", "b"]
    assert store.names("numeric") == ["amount"]
    store.verify()


def test_an_unknown_field_names_those_there_are(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no field 'itme' .* item, amount"):
        small_store(tmp_path / "store").column("itme")


def test_corruption_is_noticed(tmp_path: Path):
    path = small_store(tmp_path / "store").path
    content = bytearray((path / "time.npy").read_bytes())
    content[-1] ^= 1
    (path / "time.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"corrupt \(time.npy differs"):
        EventStore(path).verify()
    (path / "time.npy").write_bytes(content[:-8])
    with pytest.raises(ValueError, match=r"corrupt \(time.npy is missing or cut short"):
        EventStore(path)
    (path / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"corrupt \(meta.json\)"):
        EventStore(path)
    (path / "meta.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(ValueError, match="version 0"):
        EventStore(path)
    with pytest.raises(FileNotFoundError, match="run clm-prepare first"):
        EventStore(tmp_path / "none")


def test_a_column_written_in_blocks_is_a_plain_npy_file(tmp_path: Path):
    column = ColumnFile(tmp_path / "column.npy", np.dtype(np.float32), 5)
    column.append(np.array([1.0, 2.0]))
    column.append(np.array([3, 4, 5], dtype=np.int64)[::1])
    column.close()
    np.testing.assert_array_equal(np.load(tmp_path / "column.npy"), np.arange(1, 6, dtype=np.float32))
    np.save(tmp_path / "same.npy", np.arange(1, 6, dtype=np.float32))
    assert checksum(tmp_path / "same.npy") == checksum(tmp_path / "column.npy")


def test_an_error_inside_the_block_keeps_the_old_folder(tmp_path: Path):
    small_store(tmp_path / "store")
    with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "store") as folder:
        (folder / "meta.json").write_text(str(1 // 0))
    assert EventStore(tmp_path / "store").num_events == 5
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


def test_several_writers_of_one_path(tmp_path: Path):
    def write(number: int) -> None:
        with staged_folder(tmp_path / "store") as folder:
            (folder / "meta.json").write_text(str(number))
            (folder / "same").write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(200)))
    assert [file.name for file in tmp_path.iterdir()] == ["store"]
    assert (tmp_path / "store" / "meta.json").read_text() == (tmp_path / "store" / "same").read_text()


def test_what_a_killed_run_left_is_removed_after_a_day(tmp_path: Path):
    fresh, stale, other = (tmp_path / f".{name}" for name in ("store-staged-1", "store-staged-2", "store-mine"))
    for folder in (fresh, stale, other):
        (folder / "new").mkdir(parents=True)
    for folder in (stale, other):
        os.utime(folder, (0, 0))
    small_store(tmp_path / "store")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "store", fresh, other])


@pytest.mark.parametrize("old", [True, False])
def test_a_killed_writer_leaves_the_old_store_or_none(old: bool, tmp_path: Path):
    if old:
        small_store(tmp_path / "store", fingerprint="old")
    script = f"""
import os, signal
from pathlib import Path
import clm_dl.data.log.prepare as clean, clm_dl.data.log.encode as encode
append = encode.ColumnFile.append
def killed(self, block):
    append(self, block)
    self.file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
encode.ColumnFile.append = killed
import pyarrow as pa
frame = pa.table({{"id": [1, 1, 2], "when": [1, 2, 3]}})
roles = {{"customer": "id", "time": "when"}}
clean.prepare_store({{"frame": frame, "roles": roles}}, Path({str(tmp_path / "store")!r}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    if old:
        assert EventStore(tmp_path / "store").fingerprint == "old"
    else:
        assert not (tmp_path / "store").exists()
