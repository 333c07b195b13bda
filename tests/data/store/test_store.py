"""The store on disk: round trip, every damage noticed when it is opened, and never a half-written one."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clm_dl.checksums import checksum
from clm_dl.data.store.files import ColumnFile, write_store
from clm_dl.data.store.store import EventStore, Field
from clm_dl.errors import UserError


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
    assert pickle.loads(pickle.dumps(store)).customer_ids.tolist() == ["ann", "bob", "eve"]


def test_an_unknown_field_names_those_there_are(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no field 'itme' .* item, amount"):
        small_store(tmp_path / "store").column("itme")


FILES = [
    *("customers.parquet", "dict_item.parquet", "field_amount.npy", "field_item.npy", "offsets.npy"),
    *("order_start.npy", "static.parquet", "time.npy", "meta.json"),
]


@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_said_in_one_sentence(tmp_path: Path, name: str):
    path = small_store(tmp_path / "store").path
    assert {file.name for file in path.iterdir()} == set(FILES)
    content = (path / name).read_bytes()
    for place in range(0, len(content), max(len(content) // 40, 1)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        for damaged in (bytes(flipped), content[:place]):
            (path / name).write_bytes(damaged)
            with pytest.raises(UserError, match=rf"{name}.*prepare it again|has version") as error:
                EventStore(tmp_path / "store")
            assert "\n" not in str(error.value)
    (path / name).unlink()
    with pytest.raises(UserError, match=r"is missing|no event store"):
        EventStore(tmp_path / "store")
    (path / name).write_bytes(content)
    assert EventStore(tmp_path / "store").num_events == 5


def test_a_figure_of_meta_json_cannot_be_changed(tmp_path: Path):
    path = small_store(tmp_path / "store").path
    meta = json.loads((path / "meta.json").read_text())
    for change in ({"end": 11}, {"version": 1}, {"counts": {}}, {"fields": meta["fields"][:1]}):
        (path / "meta.json").write_text(json.dumps(meta | change))
        with pytest.raises(ValueError, match=r"corrupt \(meta.json\)"):
            EventStore(path)
    (path / "meta.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(ValueError, match="version 0"):
        EventStore(path)
    with pytest.raises(FileNotFoundError, match="run clm-prepare first"):
        EventStore(tmp_path / "none")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '"a"', "[" * 100_000, '{"format": "clm_dl event store", "folder": ".."}']
)
def test_a_damaged_pointer_is_no_traceback_and_mended_by_the_next_preparation(tmp_path: Path, text: str):
    small_store(tmp_path / "store")
    (tmp_path / "store" / "current.json").write_text(text)
    with pytest.raises(UserError, match=r"no event store at .*: run clm-prepare first"):
        EventStore(tmp_path / "store")
    small_store(tmp_path / "store")
    assert EventStore(tmp_path / "store").num_events == 5


def test_a_column_written_in_blocks_is_a_plain_npy_file(tmp_path: Path):
    column = ColumnFile(tmp_path / "column.npy", np.dtype(np.float32), 5)
    column.append(np.array([1.0, 2.0]))
    column.append(np.array([3, 4, 5], dtype=np.int64)[::1])
    column.close()
    np.testing.assert_array_equal(np.load(tmp_path / "column.npy"), np.arange(1, 6, dtype=np.float32))
    np.save(tmp_path / "same.npy", np.arange(1, 6, dtype=np.float32))
    assert checksum(tmp_path / "same.npy") == checksum(tmp_path / "column.npy")


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
    assert any(path.name.startswith(".staged-") for path in (tmp_path / "store").iterdir())
    if old:
        assert EventStore(tmp_path / "store").fingerprint == "old"
    else:
        with pytest.raises(FileNotFoundError, match="no event store"):
            EventStore(tmp_path / "store")
    small_store(tmp_path / "store", fingerprint="new")  # what was left is swept
    assert [path.name for path in sorted((tmp_path / "store").iterdir())] == ["current.json", "new"]
