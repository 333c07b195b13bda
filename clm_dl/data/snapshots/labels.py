"""Labels: three-valued outcomes (1, 0, NaN = censored) of (customer, cutoff) pairs, computed for all at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clm_dl.data.ids import lookup
from clm_dl.data.snapshots.cutoffs import to_us
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.store.history import count_before, rows_where
from clm_dl.data.store.store import MISSING_TIME, EventStore
from clm_dl.errors import UserError, check_keys

# values of a categorical churn_event that mean no churn
FALSE_WORDS = {"", "0", "0.0", "false", "f", "no", "n", "none"}


class Labeller(Protocol):
    """Computes labels for `[N]` snapshots; `span` is the time from a cutoff to the end of the longest label window."""

    span: int

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Label float64 `[N]` and population bool `[N]`, which reads history only; `stop`: the row after history."""
        ...


class NoEvent:
    """Churn without a contract: no event (of `event_types`, null = any) in [cutoff + gap, cutoff + gap + horizon)."""

    def __init__(self, store: EventStore, *, horizon: int, gap: int, event_types: list[str] | None = None):
        self.end, self.gap, self.span, self.zone = store.end, gap, gap + horizon, store.zone
        self.offsets, self.time = store.offsets, store.time
        self.starts_at_cutoff = gap == 0 and not event_types  # then the window begins with the row after the history
        if event_types:
            chosen = has_value(store, "event_type", event_types, "labels.event_types")
            self.offsets, self.time = rows_where(store.offsets, store.time, chosen)

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        opens, closes = self.zone.add(cutoff, self.gap), self.zone.add(cutoff, self.span)
        row = (
            stop
            if self.starts_at_cutoff
            else self.offsets[customer] + count_before(self.offsets, self.time, customer, opens)
        )
        inside = row < self.offsets[customer + 1]
        inside[inside] = self.time[row[inside]] < closes[inside]
        return _censor(~inside, closes <= self.end), np.ones(len(customer), bool)


class Contractual:
    """Churn of a contract: not renewed until `grace_days` after it expires.

    Population: the current expiry (the last one known in the history) falls in [cutoff + gap, cutoff + gap + horizon).
    Renewal: an event in [cutoff, expiry + grace) that carries a later expiry; a cancellation is none. Matured: expiry +
    grace ≤ end.
    """

    def __init__(self, store: EventStore, *, horizon: int, gap: int, grace_days: float = 30.0):
        self.end, self.gap, self.horizon, self.grace = store.end, gap, horizon, to_us(grace_days)
        self.zone = store.zone
        self.span = gap + horizon + self.grace
        self.offsets, self.time = store.offsets, store.time
        # one more, so that a range may end at the last row
        self.expiry = np.append(store.column("expiry"), MISSING_TIME)
        known = np.where(self.expiry != MISSING_TIME, np.arange(len(self.expiry)), -1)
        self.last_known = np.maximum.accumulate(known)

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        row = self.last_known[stop - 1]
        expiry = np.where(row >= self.offsets[customer], self.expiry[row], MISSING_TIME)
        opens, closes = self.zone.add(cutoff, self.gap), self.zone.add(cutoff, self.gap + self.horizon)
        population = (expiry >= opens) & (expiry < closes)
        until = self.zone.add(np.where(population, expiry, cutoff), self.grace)
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
        self.end, self.gap, self.span, self.zone = store.end, gap, gap + horizon, store.zone
        self.time = store.time
        self.offsets, self.flagged = rows_where(store.offsets, store.time, churn_flag(store))

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before, opened, closed = (
            count_before(self.offsets, self.flagged, customer, self.zone.add(cutoff, span))
            for span in (0, self.gap, self.span)
        )
        population = np.ones(len(customer), bool)
        some = before > 0
        population[some] = self.time[stop[some] - 1] > self.flagged[self.offsets[customer[some]] + before[some] - 1]
        return _censor(closed > opened, self.zone.add(cutoff, self.span) <= self.end), population


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
        self.end, self.gap, self.span, self.first = store.end, gap, gap + horizon, first
        self.zone = store.zone
        self.dormant = None if dormant_days is None else to_us(dormant_days)
        self.time = self.chosen = np.asarray(store.time)
        self.offsets = store.offsets
        if field is not None and values:
            self.offsets, self.chosen = rows_where(
                store.offsets, store.time, has_value(store, field, values, "labels.values")
            )

    def __call__(self, customer: np.ndarray, cutoff: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before, opened, closed = (
            count_before(self.offsets, self.chosen, customer, self.zone.add(cutoff, span))
            for span in (0, self.gap, self.span)
        )
        population = (before == 0) if self.first else np.ones(len(customer), bool)
        if self.dormant is not None:
            population &= self.time[stop - 1] < self.zone.add(cutoff, -self.dormant)
        return _censor(closed > opened, self.zone.add(cutoff, self.span) <= self.end), population


def has_value(store: EventStore, field: str, values: Iterable[Any], key: str) -> np.ndarray:
    """Bool `[events]`: where the categorical `field` has one of `values`; ValueError names `key` and what there is."""
    if field not in store.names("categorical"):
        known = ", ".join(store.names("categorical")) or "none"
        role = ", but the log has no data.roles.event_type" if field == "event_type" else ""
        raise UserError(f"{key} needs the categorical field {field!r}{role}; its categorical fields are {known}")
    dictionary = store.dictionary(field)
    wanted = list(values)
    code = lookup(dictionary, wanted)
    if (code < 0).any():
        unknown = min(str(value) for value, place in zip(wanted, code, strict=True) if place < 0)
        known = ", ".join(sorted(dictionary)[:20]) + (" …" if len(dictionary) > 20 else "")
        raise UserError(f"{key}: no event with {field} {unknown!r} in the log, it has {known}")
    chosen = np.isin(np.arange(len(dictionary)), code)
    return np.append(chosen, False)[store.column(field)]  # code −1 (missing) reads the last one


GIVEN, LONGEST = "given", 100_000  # days
NEEDS = {"contractual": "needs the day a contract expires", "churn_event": "needs a churn flag"}
OPTIONS = {
    "no_event": ("event_types",),
    "contractual": ("grace_days",),
    "churn_event": (),
    "event": ("field", "values", "first", "dormant_days"),
    GIVEN: ("path",),
}
LABELS: dict[str, type[Any]] = {
    "no_event": NoEvent,
    "contractual": Contractual,
    "churn_event": ChurnEvent,
    "event": ChosenEvent,
}


def check_labels(labels: Mapping[str, Any], roles: Collection[str] | None) -> None:
    """Raise UserError for labels that no log has.

    Args:
        roles: of the log; None where the data say themselves which there are.
    """
    name = labels.get("name")
    if not isinstance(name, str) or name not in (*LABELS, GIVEN):
        raise UserError(f"labels.name must be one of {', '.join([*LABELS, GIVEN])}, got {name!r}")
    check_keys(labels, ("name", *OPTIONS[name]), f"key of labels={name}")
    if name == GIVEN:
        path = labels.get("path")
        if not isinstance(path, str) or not Path(path).is_file():
            raise UserError(
                f"labels.path: no file {path}, so give a CSV or Parquet file with columns customer, time, label"
            )
    for label, role in {"contractual": "expiry", "churn_event": "churn_event"}.items():
        if name == label and roles is not None and role not in roles:
            raise UserError(f"labels={name} {NEEDS[name]}, but the log has no data.roles.{role}")
    for key in ("event_types", "values"):
        value = labels.get(key)
        if value is not None and (isinstance(value, str) or not isinstance(value, (list, tuple))):
            raise UserError(f"labels.{key} must be a list, got {value!r}: write labels.{key}=[{value}]")
    field, values, first = (labels.get(key) for key in ("field", "values", "first"))
    if name == "event":
        if field is not None and not isinstance(field, str):
            raise UserError(f"labels.field must be the name of a categorical field, got {field!r}")
        if (field is None) != (not values):
            raise UserError(
                f"labels.field and labels.values belong together, got {field!r} and {values!r}: give both or neither"
            )
        if not isinstance(first, (bool, type(None))):
            raise UserError(f"labels.first must be true or false, got {first!r}")
        if first and field is None:
            raise UserError(
                "labels.first=true needs the event that did not happen yet: set labels.field and labels.values"
            )
    for key, positive in {"dormant_days": True, "grace_days": False}.items():
        days = labels.get(key)
        if days is None:
            if key in labels and not positive:
                raise UserError(f"labels.{key} must be ≥ 0 days, got null")
            continue
        number = isinstance(days, (int, float)) and not isinstance(days, bool) and days <= LONGEST
        if not number or not (days > 0 if positive else days >= 0):
            raise UserError(f"labels.{key} must be {'> 0' if positive else '≥ 0'} days, got {days!r}")


def build_labeller(store: EventStore, labels: Mapping[str, Any], *, horizon: int, gap: int) -> Labeller:
    """The labeller of a group `labels`, e.g. `{"name": "contractual", "grace_days": 30}`; horizon, gap in µs."""
    check_labels(labels, [field.name for field in store.fields])
    options = dict(labels)
    name = options.pop("name")
    labeller: Labeller = LABELS[name](store, horizon=horizon, gap=gap, **options)
    return labeller


def label_span(store: EventStore, labels: Mapping[str, Any], rule: SnapshotRule) -> int:
    """Microseconds from a cutoff to the end of its label window; given labels are taken to look as far as no_event."""
    horizon, gap = to_us(rule.horizon_days), to_us(rule.gap_days)
    return horizon + gap if labels["name"] == "given" else build_labeller(store, labels, horizon=horizon, gap=gap).span


def churn_flag(store: EventStore) -> np.ndarray:
    """Bool `[events]`: where the churn_event column is set: number above 0, time, or a word other than no, false, 0."""
    values = store.column("churn_event")
    kind = store.field("churn_event").kind
    if kind == "time":
        return np.asarray(values != MISSING_TIME)
    if kind == "numeric":
        return np.asarray(np.nan_to_num(values) > 0)
    words = [str(word).strip().lower() not in FALSE_WORDS for word in store.dictionary("churn_event")]
    return np.array([*words, False])[values]  # code −1 (missing) reads the last one


def _censor(churned: np.ndarray, matured: np.ndarray) -> np.ndarray:
    return np.where(matured, churned.astype(np.float64), np.nan)
