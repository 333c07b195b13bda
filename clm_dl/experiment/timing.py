"""Clock: seconds spent in each part of an experiment, for timing.json."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Clock:
    """`clock(name, function, …)` calls the function and adds its wall seconds to `seconds[name]`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)
