"""Simulator: customers whose chance of another event is a known function of their own history, so that the best
possible score is known.

Two worlds. "rfm": the chance of an event on a day depends on how often and how recently there were events, and on
nothing else. "order": it depends only on the order of two event types, which occur equally often, at the same times and
with the same recency.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.sequences.tokens import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.files import found_store, write_store
from clm_dl.data.store.history import count_before
from clm_dl.data.store.home import STORE_VERSION
from clm_dl.data.store.store import EventStore, Field
from clm_dl.errors import UserError

SIMULATOR_VERSION = 1  # part of the fingerprint: raise it when the same arguments come to give another log
START = pd.Timestamp("2020-01-01").value // 1000  # microseconds of day 0, on which the first period begins
PERIOD = 14  # days; in the order world a customer who stays has one visit in each
MEMORY = 0.6  # weight of the visit before the last one, relative to the last
ARGUMENTS = ("world", "num_customers", "num_days", "seed")  # all that decides a log
TYPES = np.array(["complaint", "purchase"], dtype=object)


@dataclass(frozen=True)
class Simulation:
    """A simulated log and what only its maker knows.

    Attributes:
        events: customer (int64), time (datetime64[us], UTC), event_type, amount (NaN for a complaint); by customer and
            time.
        truth: one row a visit: customer, time (microseconds), visits so far, first (microseconds of the first visit)
            and, in the order world, leave: the chance that this visit is the last.
        end: microseconds; the end of the data.
    """

    world: str
    events: pd.DataFrame
    truth: pd.DataFrame
    end: int


def simulate(world: str, *, num_customers: int, num_days: int = 364, seed: int = 0) -> Simulation:
    """Simulate `num_customers` over `num_days`; every customer begins on a day drawn evenly from all of them.

    The order world counts in periods of 14 days. Each visit is four events on one day: a complaint and a purchase in
    either order with equal chance, then always a purchase and a complaint. Complaint first is good (+1), purchase first
    is bad (−1); the mood is the sum of these, 0.6 as much for each visit further back. After a visit the customer
    leaves for ever with chance `leave_chance(mood)`, else visits in the next period. Take cutoffs 14 days apart and
    active_days = 14: then recency says nothing.

    The rfm world counts in days: `visit_chance(visits, age, recency)` is the chance of one event on a day.
    """
    if world not in ("rfm", "order"):
        raise UserError(f"data.world must be rfm or order, got {world!r}")
    if num_customers < 1 or num_days < PERIOD:
        raise UserError(
            f"the simulator needs at least 1 customer and {PERIOD} days, got {num_customers} and {num_days}"
        )
    rng = np.random.default_rng(seed)
    visits = (_order_visits if world == "order" else _rfm_visits)(rng, num_customers, num_days)
    visits = visits.sort_values(["customer", "day"], ignore_index=True)
    if world == "order":
        bad = visits.pop("bad").to_numpy()
        # [visits, 4], 1 = purchase
        code = np.stack([bad, ~bad, np.ones_like(bad), np.zeros_like(bad)], axis=1).astype(np.int32)
        hour = np.array([9, 11, 15, 17])
    else:
        code = rng.integers(0, 2, (len(visits), 1), dtype=np.int32)  # the type means nothing here
        hour = np.array([12])
    time = (
        START
        + visits["day"].to_numpy()[:, None] * DAY
        + hour * (DAY // 24)
        + rng.integers(0, 3600, code.shape) * 1_000_000
    )
    amount = np.where(code == 1, np.round(rng.lognormal(3.0, 0.6, code.shape), 2), np.nan)
    events = pd.DataFrame(
        {
            "customer": np.repeat(visits["customer"].to_numpy(), len(hour)),
            "time": pd.to_datetime(time.ravel(), unit="us", utc=True),
            "event_type": TYPES[code.ravel()],
            "amount": amount.ravel(),
        }
    )
    visits["time"] = START + visits.pop("day") * DAY
    by_customer = visits.groupby("customer")
    visits["visits"] = by_customer.cumcount() + 1
    visits["first"] = by_customer["time"].transform("min")
    return Simulation(world, events, visits, START + num_days * DAY)


def leave_chance(mood: np.ndarray) -> np.ndarray:
    """Order world: the chance that a visit is the last, 0.01 at a mood of +2, 0.12 at 0, 0.73 at −2."""
    chance: np.ndarray = 1 / (1 + np.exp(2.0 + 1.5 * mood))
    return chance


def visit_chance(visits: np.ndarray, age: np.ndarray, recency: np.ndarray) -> np.ndarray:
    """Rfm world: the chance of an event on a day, `age` days after the first and `recency` days after the last of
    `visits` events.

    The rate so far, shrunk to one event in 12 days (a Gamma prior of 1 event in 12 days), fading with silence.
    """
    chance: np.ndarray = (1.0 + visits) / (12.0 + age) / (1.0 + (recency / 30.0) ** 2)
    return np.minimum(chance, 0.9)


def oracle_probability(store: EventStore, snapshots: Snapshots) -> np.ndarray:
    """Float `[N]`: the exact chance of no event in [cutoff, cutoff + horizon), given everything before the cutoff.

    `store` comes from `write_simulated`. Until the first event after the cutoff nothing changes but the calendar, so
    the chance is a product (rfm) or a posterior (order) in closed form.

    Raises:
        ValueError: a gap, a cutoff that is not a midnight, or a store that was not simulated.
    """
    path = store.path / "truth.parquet"
    if not path.is_file():
        raise UserError(f"store {store.path} has no truth.parquet: the oracle knows simulated stores only")
    whole = (np.asarray(snapshots.cutoff) - START) % DAY == 0
    if snapshots.gap_days or snapshots.horizon_days % 1 or not whole.all():
        raise UserError("the oracle needs cutoffs at midnight, a horizon of whole days and gap_days=0")
    truth = pd.read_parquet(path)
    offsets = np.searchsorted(truth["customer"], np.arange(store.num_customers + 1))
    row = (
        offsets[snapshots.customer]
        + count_before(offsets, truth["time"].to_numpy(), snapshots.customer, snapshots.cutoff)
        - 1
    )
    last, cutoff, horizon = truth.iloc[row], (snapshots.cutoff - START) // DAY, int(snapshots.horizon_days)
    day = (last["time"].to_numpy() - START) // DAY
    if "leave" not in truth:
        age, visits = cutoff - (last["first"].to_numpy() - START) // DAY, last["visits"].to_numpy()
        chance = np.ones(len(row))
        for ahead in range(horizon):
            chance *= 1 - visit_chance(visits, age + ahead, cutoff - day + ahead)
        return chance
    # whoever stays visits on a day drawn evenly from the period after that of the last visit
    begin = (day // PERIOD + 1) * PERIOD
    silent = np.clip(begin + PERIOD - cutoff, 0, PERIOD) / PERIOD  # P(no visit before the cutoff | stays)
    # P(no visit before the end of the window | stays)
    later = np.clip(begin + PERIOD - cutoff - horizon, 0, PERIOD) / PERIOD
    leave = last["leave"].to_numpy()
    posterior: np.ndarray = (leave + (1 - leave) * later) / (leave + (1 - leave) * silent)
    return posterior


def write_simulated(data: Mapping[str, Any], path: str | Path) -> EventStore:
    """Simulate by `data` (world, num_customers, num_days, seed); write the store, truth.parquet in it, into the home
    `path`.
    """
    simulation = simulate(
        data["world"], num_customers=data["num_customers"], num_days=data["num_days"], seed=data["seed"]
    )
    events = simulation.events
    return write_store(
        path,
        customer_ids=np.arange(data["num_customers"]),
        offsets=np.searchsorted(events["customer"], np.arange(data["num_customers"] + 1)),
        time=events["time"].astype(np.int64).to_numpy(),
        columns={"event_type": (events["event_type"] == TYPES[1]).to_numpy(), "amount": events["amount"].to_numpy()},
        fields=[Field("event_type", "categorical", "event_type"), Field("amount", "numeric", "amount")],
        dictionaries={"event_type": TYPES},
        end=simulation.end,
        fingerprint=simulated_fingerprint(data),
        configuration=f"simulator {[data[key] for key in ARGUMENTS]}",
        truth=simulation.truth,
    )


def ensure_simulated(data: Mapping[str, Any], path: str | Path) -> EventStore:
    """The sound store in the home `path` that the same `data` made, else a new one there."""
    return found_store(path, simulated_fingerprint(data)) or write_simulated(data, path)


def simulated_fingerprint(data: Mapping[str, Any]) -> str:
    """Hash of what decides the store."""
    arguments = [STORE_VERSION, SIMULATOR_VERSION, *(data[key] for key in ARGUMENTS)]
    return hashlib.blake2b(json.dumps(arguments).encode(), digest_size=16).hexdigest()


def _order_visits(rng: np.random.Generator, num_customers: int, num_days: int) -> pd.DataFrame:
    """Columns customer, day, bad (purchase first), leave; one row a visit."""
    num_periods = num_days // PERIOD
    joins = rng.integers(0, num_periods, num_customers)
    mood, here = np.zeros(num_customers), np.ones(num_customers, dtype=bool)
    parts = []
    for period in range(num_periods):
        customer = np.flatnonzero(here & (joins <= period))
        bad = rng.random(len(customer)) < 0.5
        mood[customer] = MEMORY * mood[customer] + np.where(bad, -1.0, 1.0)
        leave = leave_chance(mood[customer])
        here[customer] = rng.random(len(customer)) >= leave
        day = period * PERIOD + rng.integers(0, PERIOD, len(customer))
        parts.append(pd.DataFrame({"customer": customer, "day": day, "bad": bad, "leave": leave}))
    return pd.concat(parts, ignore_index=True)


def _rfm_visits(rng: np.random.Generator, num_customers: int, num_days: int) -> pd.DataFrame:
    """Columns customer, day; one row a visit."""
    first = rng.integers(0, num_days, num_customers)
    last, visits = first.copy(), np.zeros(num_customers, dtype=np.int64)
    parts = []
    for day in range(num_days):
        chance = np.where(
            visits > 0, visit_chance(visits, np.maximum(day - first, 0), np.maximum(day - last, 0)), first == day
        )
        customer = np.flatnonzero(rng.random(num_customers) < chance)
        last[customer] = day
        visits[customer] += 1
        parts.append(pd.DataFrame({"customer": customer, "day": day}))
    return pd.concat(parts, ignore_index=True)
