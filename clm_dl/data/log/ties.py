"""Ties: lines of one customer and time: how many there are, whether items sort them, and a drawn order of them.

An order of ties that follows from the items is learnt as if it were what customers do. The draw is our own hash of the
seed and of the line's values as they are written, so that neither the order of rows, nor an engine, nor what else is in
the log decides it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIES = ("sort", "file", "seeded", "auto")
SORTED = 0.95  # of the neighbours in ties that ascend, or descend, by item
FEWEST = 30  # such neighbours


@dataclass(frozen=True)
class Ties:
    """share: of the lines that share customer and time with another. by_item: whether items sort them."""

    share: float
    by_item: bool


def count_ties(
    offsets: np.ndarray, time: np.ndarray, item: np.ndarray | None, items: Sequence[str] | np.ndarray
) -> Ties:
    """Ties of a log in the order of its store; `item` holds codes of `items`, −1 missing."""
    if len(time) < 2:
        return Ties(0.0, False)
    same = np.asarray(time[1:]) == np.asarray(time[:-1])  # as the line before it
    same[np.asarray(offsets)[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(time))] - 1] = False
    tied = np.append(same, False) | np.append(False, same)
    by_item = False
    if item is not None and same.any():
        place = np.flatnonzero(same)
        left, right = np.asarray(item)[place], np.asarray(item)[place + 1]
        differ = (left >= 0) & (right >= 0) & (left != right)
        left, right = left[differ], right[differ]
        for rank in _ranks(items) if len(left) >= FEWEST else ():
            ascending = float((rank[left] < rank[right]).mean())
            by_item |= max(ascending, 1 - ascending) >= SORTED
    return Ties(float(tied.mean()), by_item)


def _ranks(items: Sequence[str] | np.ndarray) -> list[np.ndarray]:
    """Places of the items as text, and as numbers where all are numbers."""
    ranks = [np.argsort(np.argsort(np.asarray(items, dtype=object)))]
    try:
        return [*ranks, np.argsort(np.argsort(np.array([float(item) for item in items])))]
    except ValueError:
        return ranks


def draw_ties(
    batches: Iterable[pa.RecordBatch],
    *,
    seed: int,
    offsets: np.ndarray,
    customers: pa.Array,
    dictionaries: Mapping[str, pa.Array],
    orders: Sequence[str],
) -> Iterator[pa.RecordBatch]:
    """The same lines, sorted by customer and time, with every tie in a drawn order; lines of one order stay together.

    Args:
        batches: with a column `time`, those of `orders` that make an order, and the fields; values of a field in
            `dictionaries` are codes of the texts there.
        offsets: int64 `[C + 1]`, the rows of each of the `customers`.
    """
    ids = text_hash(customers)
    texts = {name: np.append(text_hash(values), np.uint64(0)) for name, values in dictionaries.items()}
    kept, row = None, 0
    for batch in batches:
        whole = batch if kept is None else _joined(kept, batch)
        customer = np.searchsorted(offsets, row + np.arange(whole.num_rows), side="right") - 1
        time = whole["time"].to_numpy()
        last = (customer == customer[-1]) & (time == time[-1])
        ready = int(np.argmax(last))  # the last tie may go on in the next batch
        kept = whole.slice(ready)
        if ready:
            yield _drawn(whole.slice(0, ready), customer[:ready], seed, ids, texts, orders)
        row += ready
    if kept is not None and kept.num_rows:
        customer = np.full(kept.num_rows, np.searchsorted(offsets, row, side="right") - 1)
        yield _drawn(kept, customer, seed, ids, texts, orders)


def _drawn(
    batch: pa.RecordBatch,
    customer: np.ndarray,
    seed: int,
    ids: np.ndarray,
    texts: Mapping[str, np.ndarray],
    orders: Sequence[str],
) -> pa.RecordBatch:
    time = batch["time"].to_numpy()
    start = np.ones(len(time), bool)
    start[1:] = (np.diff(customer) != 0) | (np.diff(time) != 0)
    if start.all():
        return batch
    shared = _mixed(_mixed(np.full(len(time), seed, np.int64).view(np.uint64)) ^ ids[customer])
    shared = _mixed(shared ^ time.view(np.uint64))
    order = shared
    for name in orders:
        if name in texts:  # the source
            order = _mixed(order ^ _bits(batch[name], texts[name]))
            continue
        codes = pc.dictionary_encode(batch[name], null_encoding="encode")
        order = _mixed(order ^ text_hash(codes.dictionary)[codes.indices.to_numpy()])
    line = order
    for name in batch.schema.names:
        if name != "time" and name not in orders:
            line = _mixed(line ^ _bits(batch[name], texts.get(name)))
    return batch.take(pa.array(np.lexsort((line, order, np.cumsum(start)))))


def _bits(column: pa.Array, texts: np.ndarray | None) -> np.ndarray:
    """uint64 of the values of a field."""
    if texts is not None:
        return texts[column.to_numpy(zero_copy_only=False)]
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False).astype(np.float64) + 0.0  # no negative zero
        return np.where(np.isnan(values), np.nan, values).view(np.uint64)
    return pc.fill_null(column.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy().view(np.uint64)


def _mixed(value: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele et al. 2014): every bit depends on every bit."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def text_hash(values: pa.Array) -> np.ndarray:
    """uint64 of values as text (BLAKE2b): the same on every machine and engine."""
    digests = (hashlib.blake2b(str(value).encode(), digest_size=8).digest() for value in values.to_pylist())
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _joined(first: pa.RecordBatch, second: pa.RecordBatch) -> pa.RecordBatch:
    return pa.Table.from_batches([first, second]).combine_chunks().to_batches()[0]
