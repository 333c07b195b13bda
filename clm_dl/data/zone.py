"""Zone: dates, days and clock readings of a time zone; inside, every time is microseconds UTC.

A date is its day's first moment in the zone. A number of days is added on the zone's calendar, so that a week after a
midnight is a midnight also where a day of it has 23 or 25 hours; what a clock shows twice is taken to be the first
time, what it never shows is the first moment after.
"""

from __future__ import annotations

from datetime import UTC as PLAIN
from datetime import datetime, timedelta
from typing import Any, overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from clm_dl.errors import UserError

DAY = 86_400_000_000  # microseconds
EPOCH = datetime(1970, 1, 1)
# a zone behind a time of day
OFFSET = r"[Tt ][0-9]{1,2}[0-9:.,]*\s*(?:[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"
NAMES_OF_UTC = ("UTC", "Etc/UTC", "Z")


class Zone:
    """A time zone by its name (UTC, Europe/Berlin). ValueError where there is no such zone."""

    def __init__(self, name: str = "UTC") -> None:
        self.name, self.is_utc = name, name in NAMES_OF_UTC
        try:
            self.info = ZoneInfo("UTC" if self.is_utc else name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise UserError(f"unknown time zone {name!r}: use a name such as UTC or Europe/Berlin") from error

    def local(self, time: Any) -> np.ndarray:
        """What the zone's clocks show, in microseconds as if it were UTC."""
        time = np.asarray(time, dtype=np.int64)
        if self.is_utc:
            return time
        moments = pd.DatetimeIndex(time.reshape(-1).view("datetime64[us]")).tz_localize("UTC")
        return moments.tz_convert(self.info).tz_localize(None).asi8.reshape(time.shape)

    def utc(self, local: Any) -> np.ndarray:
        """The inverse of `local`."""
        local = np.asarray(local, dtype=np.int64)
        if self.is_utc:
            return local
        clock = pd.DatetimeIndex(local.reshape(-1).view("datetime64[us]"))
        first = np.ones(len(clock), bool)  # summer time comes first
        moments = clock.tz_localize(self.info, ambiguous=first, nonexistent="shift_forward")
        return moments.tz_convert("UTC").asi8.reshape(local.shape)

    def clock(self, time: Any) -> np.ndarray:
        """`local`, where the first moment of a day is its midnight: also where clocks skip that."""
        time, shown = np.asarray(time, dtype=np.int64), self.local(time)
        day = shown // DAY * DAY
        return np.where(self.utc(day) == time, day, shown)

    @overload
    def add(self, time: int, span: int) -> int: ...
    @overload
    def add(self, time: np.ndarray, span: int) -> np.ndarray: ...
    def add(self, time: Any, span: int) -> Any:
        """`time` and so many microseconds on the zone's calendar: whole days keep the clock's reading."""
        if self.is_utc or span == 0:
            return time + span
        moved = self.utc(self.local(time) + span)
        return int(moved) if np.ndim(time) == 0 else moved

    def days(self, later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """Days of the zone's calendar from `earlier` to `later`, with fractions."""
        found: np.ndarray = (self.local(later) - self.local(earlier)) / DAY
        return found

    def parse(self, value: Any, what: str = "a cutoff") -> int:
        """One date or time to microseconds UTC: ISO text, date or Timestamp; midnight unless a time, this zone's unless
        one is given.
        """
        try:
            stamp = datetime.fromisoformat(str(value))
        except ValueError as error:
            raise UserError(f"{what} must be an ISO date such as 2017-12-01, got {value!r}") from error
        if stamp.tzinfo:
            return (stamp.astimezone(PLAIN).replace(tzinfo=None) - EPOCH) // timedelta(microseconds=1)
        return int(self.utc((stamp - EPOCH) // timedelta(microseconds=1)))

    def moments(self, column: pd.Series) -> pd.Series:
        """A column of dates or times in UTC (datetime64[us, UTC]); those without a zone are this zone's, what is no ISO
        date is missing.
        """
        if pd.api.types.is_datetime64_any_dtype(column):
            moment = pd.to_datetime(column, utc=True).dt.as_unit("us")
            named = pd.Series(column.dt.tz is not None, index=column.index)
        else:
            text = column.astype(str).str.strip()
            named = text.str.contains(OFFSET)
            text = text.str.replace(r"([0-9])\s*(?:UTC|GMT|z)$", r"\1Z", regex=True)
            text = text.str.replace(r"([0-9])\s+([+-][0-9:]+|Z)$", r"\1\2", regex=True)
            moment = pd.to_datetime(text, utc=True, errors="coerce", format="ISO8601").dt.as_unit("us")
        own = (~named & moment.notna()).to_numpy()
        if not self.is_utc and own.any():
            read = moment.dt.tz_localize(None).to_numpy()
            shifted = read.view(np.int64).copy()
            shifted[own] = self.utc(shifted[own])
            moment = pd.Series(shifted.view("datetime64[us]"), index=column.index).dt.tz_localize("UTC")
        return moment

    def iso(self, time: int) -> str:
        """Microseconds as a date of the zone where they are its first moment, else with the time of day and, but for
        UTC, the offset.
        """
        time = int(time)
        local = int(self.local(time))
        if int(self.utc(local // DAY * DAY)) == time:
            return pd.Timestamp(local, unit="us").date().isoformat()
        stamp = pd.Timestamp(time, unit="us")
        return stamp.isoformat() if self.is_utc else stamp.tz_localize("UTC").tz_convert(self.info).isoformat()


UTC = Zone()
