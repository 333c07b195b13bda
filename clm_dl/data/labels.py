"""Labels: three-valued outcomes (1, 0, NaN = censored) of (customer, cutoff) pairs, computed for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clm_dl.data.cutoffs import to_us
from clm_dl.data.store import MISSING_TIME, EventStore

FALSE_WORDS = {"", "0", "0.0", "false", "f", "no", "n", "none"}  # values of a categorical churn_event that mean no churn


def count_before(offsets: np.ndarray, time: np.ndarray, customer: np.ndarray, at: np.ndarray | int) -> np.ndarray:
    """How many of its customer's events lie strictly before `at`: a bisection inside every customer's rows at once.

    Args:
        offsets: int64 `[C + 1]`; customer `c` owns rows `offsets[c]:offsets[c + 1]` of `time`, sorted within it.
        time: int64 `[events]` microseconds; may be memory-mapped.
        customer: codes `[N]`. at: microseconds, `[N]` or one for all.

    Returns:
        int64 `[N]`; the first row not before `at` is `offsets[customer] + count`.
    """
    time = np.asarray(time)
    start = np.asarray(offsets)[customer]
    low, size = start.copy(), np.asarray(offsets)[customer + 1] - start
    at = np.broadcast_to(np.asarray(at, dtype=np.int64), low.shape)
    if not len(time):
        return np.zeros(low.shape, np.int64)
    last = len(time) - 1
    while size.max(initial=0) > 0:  # log2(longest history) rounds
        half = size >> 1
        middle = low + half
        later = (time[np.minimum(middle, last)] < at) & (size > 0)
        low = np.where(later, middle + 1, low)
        size = np.where(later, size - half - 1, half)
    return np.asarray(low - start)


def rows_where(offsets: np.ndarray, time: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets `[C + 1]` and times of the rows where `mask` holds: a smaller log that `count_before` can search."""
    return np.concatenate([[0], np.cumsum(mask)])[np.asarray(offsets)], np.asarray(time)[mask]


class Labeller(Protocol):
    """Computes labels for `[N]` snapshots; `span` is the time from a cutoff to the end of the longest label window."""

    span: int

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Label float64 `[N]` and population bool `[N]`; `stop` is the first row that is not history. Population reads history only."""
        ...


class NoEvent:
    """Churn without a contract: no event (of `event_types`, null = any) in [cutoff + gap, cutoff + gap + horizon)."""

    def __init__(self, store: EventStore, *, horizon: int, gap: int, event_types: list[str] | None = None):
        self.end, self.gap, self.span = store.end, gap, gap + horizon
        self.offsets, self.time = store.offsets, store.time
        self.starts_at_cutoff = gap == 0 and not event_types  # then the window begins with the row after the history
        if event_types:
            chosen = has_value(store, "event_type", event_types, "labels.event_types")
            self.offsets, self.time = rows_where(store.offsets, store.time, chosen)

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row = stop if self.starts_at_cutoff else self.offsets[customer] + count_before(self.offsets, self.time, customer, cutoff + self.gap)
        inside = row < self.offsets[customer + 1]
        inside[inside] = self.time[row[inside]] < cutoff[inside] + self.span
        return _censor(~inside, cutoff + self.span <= self.end), np.ones(len(customer), bool)


class Contractual:
    """Churn of a contract: not renewed until `grace_days` after it expires.

    Population: the current expiry (the last one known in the history) falls in [cutoff + gap, cutoff + gap + horizon).
    Renewal: an event in [cutoff, expiry + grace) that carries a later expiry; a cancellation is none. Matured: expiry + grace ≤ end.
    """

    def __init__(self, store: EventStore, *, horizon: int, gap: int, grace_days: float = 30.0):
        if not store.has("expiry"):
            raise ValueError("labels=contractual needs the day a contract expires, but the log has no data.roles.expiry")
        if grace_days < 0:
            raise ValueError(f"labels.grace_days must be ≥ 0, got {grace_days}")
        self.end, self.gap, self.horizon, self.grace = store.end, gap, horizon, to_us(grace_days)
        self.span = gap + horizon + self.grace
        self.offsets, self.time = store.offsets, store.time
        self.expiry = np.append(store.column("expiry"), MISSING_TIME)  # one more, so that a range may end at the last row
        known = np.where(self.expiry != MISSING_TIME, np.arange(len(self.expiry)), -1)
        self.last_known = np.maximum.accumulate(known)

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row = self.last_known[stop - 1]
        expiry = np.where(row >= self.offsets[customer], self.expiry[row], MISSING_TIME)
        population = (expiry >= cutoff + self.gap) & (expiry < cutoff + self.gap + self.horizon)
        until = np.where(population, expiry, cutoff) + self.grace
        stop_renewal = self.offsets[customer] + count_before(self.offsets, self.time, customer, until)
        some = stop_renewal > stop
        newest = np.full(len(customer), MISSING_TIME)
        ranges = np.stack([stop[some], stop_renewal[some]], axis=1).ravel()
        newest[some] = np.maximum.reduceat(self.expiry, ranges)[::2] if len(ranges) else MISSING_TIME
        return _censor(newest <= expiry, until <= self.end), population


class ChurnEvent:
    """Churn that the log says itself: a row with the churn_event flag in [cutoff + gap, cutoff + gap + horizon).

    Who churned before the cutoff and was not seen at a later time is out of the population.
    """

    def __init__(self, store: EventStore, *, horizon: int, gap: int):
        if not store.has("churn_event"):
            raise ValueError("labels=churn_event needs a churn flag, but the log has no data.roles.churn_event")
        self.end, self.gap, self.span = store.end, gap, gap + horizon
        self.time = store.time
        self.offsets, self.flagged = rows_where(store.offsets, store.time, churn_flag(store))

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before, opened, closed = (
            count_before(self.offsets, self.flagged, customer, at) for at in (cutoff, cutoff + self.gap, cutoff + self.span)
        )
        population = np.ones(len(customer), bool)
        some = before > 0
        population[some] = self.time[stop[some] - 1] > self.flagged[self.offsets[customer[some]] + before[some] - 1]
        return _censor(closed > opened, cutoff + self.span <= self.end), population


class ChosenEvent:
    """An event with one of `values` of `field` in [cutoff + gap, cutoff + gap + horizon). Positive: it happened.

    Args:
        field: a categorical field of the log (event_type, item, a category); null = any event counts.
        values: of the field, at least one.
        first: population rule, no such event before the cutoff (a prospect's first purchase).
        dormant_days: population rule, no event at all in the N days before the cutoff (reactivation); null = everyone.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        horizon: int,
        gap: int,
        field: str | None = None,
        values: list[Any] | None = None,
        first: bool = False,
        dormant_days: float | None = None,
    ):
        if (field is None) != (not values):
            raise ValueError(f"labels.field and labels.values belong together, got {field!r} and {values!r}: give both or neither")
        if first and field is None:
            raise ValueError("labels.first=true needs the event that did not happen yet: set labels.field and labels.values")
        if dormant_days is not None and not dormant_days > 0:
            raise ValueError(f"labels.dormant_days must be > 0 days, got {dormant_days}")
        self.end, self.gap, self.span, self.first = store.end, gap, gap + horizon, first
        self.dormant = None if dormant_days is None else to_us(dormant_days)
        self.time = self.chosen = np.asarray(store.time)
        self.offsets = store.offsets
        if field is not None and values:
            self.offsets, self.chosen = rows_where(store.offsets, store.time, has_value(store, field, values, "labels.values"))

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before, opened, closed = (
            count_before(self.offsets, self.chosen, customer, at) for at in (cutoff, cutoff + self.gap, cutoff + self.span)
        )
        population = (before == 0) if self.first else np.ones(len(customer), bool)
        if self.dormant is not None:
            population &= self.time[stop - 1] < cutoff - self.dormant
        return _censor(closed > opened, cutoff + self.span <= self.end), population


def has_value(store: EventStore, field: str, values: Iterable[Any], key: str) -> np.ndarray:
    """Bool `[events]`: where the categorical `field` has one of `values`; ValueError names `key` and what the log has."""
    if field not in store.names("categorical"):
        known = ", ".join(store.names("categorical")) or "none"
        role = ", but the log has no data.roles.event_type" if field == "event_type" else ""
        raise ValueError(f"{key} needs the categorical field {field!r}{role}; its categorical fields are {known}")
    dictionary = store.dictionary(field)
    unknown = sorted({str(value) for value in values} - set(dictionary))
    if unknown:
        known = ", ".join(sorted(dictionary)[:20]) + (" …" if len(dictionary) > 20 else "")
        raise ValueError(f"{key}: no event with {field} {unknown[0]!r} in the log, it has {known}")
    chosen = np.isin(dictionary, [str(value) for value in values])
    return np.append(chosen, False)[store.column(field)]  # code −1 (missing) reads the last one


LABELS: dict[str, type[Any]] = {"no_event": NoEvent, "contractual": Contractual, "churn_event": ChurnEvent, "event": ChosenEvent}


def build_labeller(store: EventStore, labels: Mapping[str, Any], *, horizon: int, gap: int) -> Labeller:
    """The labeller of a `labels` group, e.g. `{"name": "contractual", "grace_days": 30}`; horizon and gap in microseconds."""
    options = dict(labels)
    name = options.pop("name")
    if name not in LABELS:
        raise ValueError(f"labels.name must be one of {', '.join([*LABELS, 'given'])}, got {name!r}")
    labeller: Labeller = LABELS[name](store, horizon=horizon, gap=gap, **options)
    return labeller


def label_span(store: EventStore, labels: Mapping[str, Any], *, horizon_days: float, gap_days: float, **_: Any) -> int:
    """Microseconds from a cutoff to the end of its label window; given labels are taken to look as far as silence does."""
    horizon, gap = to_us(horizon_days), to_us(gap_days)
    return horizon + gap if labels["name"] == "given" else build_labeller(store, labels, horizon=horizon, gap=gap).span


def churn_flag(store: EventStore) -> np.ndarray:
    """Bool `[events]`: where the churn_event column is set (number above 0, time, or a word other than no, false, 0)."""
    values = store.column("churn_event")
    kind = store.field("churn_event").kind
    if kind == "time":
        return np.asarray(values != MISSING_TIME)
    if kind == "numeric":
        return np.asarray(np.nan_to_num(values) > 0)
    words = [str(word).strip().lower() not in FALSE_WORDS for word in store.dictionary("churn_event")]
    return np.array([*words, False])[values]  # code −1 (missing) reads the last one


def read_given(store: EventStore, path: str | Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Given labels of a CSV or Parquet file with columns customer, time, label (1, 0 or empty = censored).

    Returns:
        DataFrame customer (int64 code), cutoff (int64 microseconds), label (float64), and the rows it could not use by reason.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"labels.path: no file {path}, so give a CSV or Parquet file with columns customer, time, label")
    frame = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
    missing = [name for name in ("customer", "time", "label") if name not in frame]
    if missing:
        raise ValueError(f"labels.path: {path} has no column {missing[0]!r}, it has {', '.join(map(str, frame.columns))}")
    index = pd.Index(store.customer_ids)
    ids = frame["customer"]
    if pd.api.types.is_numeric_dtype(index) != pd.api.types.is_numeric_dtype(ids):
        index, ids = index.astype(str), ids.astype(str)
    code = index.get_indexer(ids)
    is_text = not pd.api.types.is_datetime64_any_dtype(frame["time"])
    time = pd.to_datetime(
        frame["time"].astype(str) if is_text else frame["time"], utc=True, errors="coerce", format="ISO8601" if is_text else None
    )
    words = frame["label"].map({True: 1.0, False: 0.0, "1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0, "True": 1.0, "False": 0.0})
    bad = words.isna() & frame["label"].notna()
    if bad.any():
        raise ValueError(f"labels.path: label must be 1, 0 or empty (censored), got {frame['label'][bad].iloc[0]!r}")
    repeated = pd.DataFrame({"code": code, "time": time}).duplicated().to_numpy()
    reasons = {"unknown_customer": code < 0, "unparseable_time": time.isna().to_numpy(), "repeated": repeated}
    reason = np.select(list(reasons.values()), list(reasons), default="")
    keep = reason == ""
    cutoff = time[keep].dt.as_unit("us").astype("int64")
    used = pd.DataFrame({"customer": code[keep].astype(np.int64), "cutoff": cutoff.to_numpy(), "label": words[keep].to_numpy(dtype=float)})
    return used, {"given_rows": len(frame), **{name: int((reason == name).sum()) for name in reasons}}


def _censor(churned: np.ndarray, matured: np.ndarray) -> np.ndarray:
    return np.where(matured, churned.astype(np.float64), np.nan)
