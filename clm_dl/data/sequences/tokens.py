"""Sequences: the token view of an event store; a token is one line, or one order (the lines bought together)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError

TOKENS = ("order", "line")
NUM_LINES = "num_lines"  # numeric field that order tokens add


@dataclass(frozen=True, eq=False)
class Sequences:
    """Every token of a store, as flat arrays. N tokens, F numeric fields; a token lies wholly before or wholly after a
    cutoff.

    Attributes:
        token: "order" or "line".
        categorical, numeric: names of the fields in use; order tokens add `num_lines`.
        rows: int64 `[N + 1]`, the first store row of each token; the last entry ends the store.
        time: int64 `[N]`, microseconds UTC.
        gap, age: float32 `[N]`, log1p of the days since the customer's previous token (0 for the first) and first
            token.
        values: float32 `[N, F]`, summed over an order's lines; NaN only where all are missing.
        line_offsets: int64 `[N + 1]` into `codes`; an order keeps its first `max_lines` lines there (its sums and
            num_lines keep all).
    """

    store: EventStore
    token: str
    categorical: list[str]
    numeric: list[str]
    rows: np.ndarray
    time: np.ndarray
    gap: np.ndarray
    age: np.ndarray
    values: np.ndarray
    line_offsets: np.ndarray

    @classmethod
    def from_store(
        cls,
        store: EventStore,
        *,
        token: str = "order",
        categorical: Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        max_lines: int | None = None,
    ) -> Sequences:
        """Build the token view.

        Args:
            categorical, numeric: fields of the store; None = all of that kind (free text only when named).
            exclude: fields to leave out.
            max_lines: lines of an order that enter its bags of categorical values; None = all.

        Raises:
            ValueError: an unknown token, an unknown field, or a field of another kind.
        """
        if token not in TOKENS:
            raise UserError(f"sequence.token must be order or line, got {token!r}")
        if max_lines is not None and max_lines < 1:
            raise UserError(f"sequence.max_lines must be at least 1, got {max_lines}")
        for name in exclude:
            store.field(name)
        fields = {
            "categorical": _fields(store, "categorical", categorical, exclude),
            "numeric": [
                name for name in _fields(store, "numeric", numeric, exclude) if (name, token) != (NUM_LINES, "order")
            ],
        }
        num_events = store.num_events
        starts = np.flatnonzero(store.order_start) if token == "order" else np.arange(num_events)
        rows = np.append(starts, num_events).astype(np.int64)
        time = np.asarray(store.time)[starts]
        num_lines = np.diff(rows)
        gap, age = _time_since(time, np.searchsorted(starts, store.offsets))
        columns = [sums(store.column(name), starts, token) for name in fields["numeric"]]
        if token == "order":
            fields["numeric"].append(NUM_LINES)
            columns.append(num_lines.astype(np.float32))
        kept = num_lines if max_lines is None else np.minimum(num_lines, max_lines)
        return cls(
            store=store,
            token=token,
            rows=rows,
            time=time,
            gap=gap,
            age=age,
            values=np.stack(columns, axis=1) if columns else np.zeros((len(time), 0), dtype=np.float32),
            line_offsets=np.concatenate([[0], np.cumsum(kept)]),
            **fields,
        )

    @property
    def num_tokens(self) -> int:
        return len(self.time)

    def ids(self, field: str, lookup: np.ndarray) -> np.ndarray:
        """int32 `[line_offsets[-1]]`: the vocabulary ids of all kept lines; `lookup` comes from `Vocabulary.lookup`."""
        ids: np.ndarray = lookup[self.store.column(field)]
        if self.line_offsets[-1] < len(ids):  # some orders are cut: keep line j of token i if j < kept lines of i
            place = np.arange(len(ids)) - np.repeat(self.rows[:-1], np.diff(self.rows))
            ids = ids[place < np.repeat(np.diff(self.line_offsets), np.diff(self.rows))]
        return ids

    def token_range(self, snapshots: Snapshots) -> tuple[np.ndarray, np.ndarray]:
        """int64 `[N]`, `[N]`: the tokens [first, last) of each snapshot's history."""
        first, last = np.searchsorted(self.rows, snapshots.start), np.searchsorted(self.rows, snapshots.stop)
        assert np.array_equal(self.rows[last], snapshots.stop), "a token straddles a cutoff"
        return first, last

    def visible_rows(self, snapshots: Snapshots) -> np.ndarray:
        """bool `[events]`: the store rows that are in the history of at least one of these snapshots."""
        return _covered(snapshots.start, snapshots.stop, self.store.num_events)

    def visible_tokens(self, snapshots: Snapshots) -> np.ndarray:
        """bool `[tokens]`: the tokens that are in the history of at least one of these snapshots."""
        return _covered(*self.token_range(snapshots), self.num_tokens)


def _fields(store: EventStore, kind: str, wanted: Sequence[str] | None, exclude: Sequence[str]) -> list[str]:
    if wanted is None:
        wanted = [field.name for field in store.fields if field.kind == kind and field.role != "text"]
    for name in wanted:
        if store.field(name).kind != kind:
            raise UserError(
                f"field {name!r} is {store.field(name).kind}, so it cannot be among the {kind} fields of the sequence"
            )
    return [name for name in wanted if name not in exclude]


def _time_since(time: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log1p of the days since the customer's previous and first token. `offsets` [customers + 1] into the tokens."""
    gap = np.diff(time, prepend=time[:1])
    gap[offsets[:-1][np.diff(offsets) > 0]] = 0
    first = np.repeat(
        time[np.minimum(offsets[:-1], max(len(time) - 1, 0))] if len(time) else offsets[:-1], np.diff(offsets)
    )
    return np.log1p(gap / DAY).astype(np.float32), np.log1p((time - first) / DAY).astype(np.float32)


def sums(column: np.ndarray, starts: np.ndarray, token: str) -> np.ndarray:
    """Sum of each token's lines in double precision, missing lines left out; NaN where all are missing."""
    if token == "line" or not len(starts):
        return np.array(column, dtype=np.float32)
    missing = np.isnan(column)
    total = np.add.reduceat(np.where(missing, 0.0, column.astype(np.float64)), starts).astype(np.float32)
    total[np.logical_and.reduceat(missing, starts)] = np.nan
    return total


def _covered(start: np.ndarray, stop: np.ndarray, size: int) -> np.ndarray:
    step = np.zeros(size + 1, dtype=np.int32)
    np.add.at(step, start, 1)
    np.add.at(step, stop, -1)
    covered: np.ndarray = np.cumsum(step[:-1]) > 0
    return covered
