"""Search in time against counting, on random small logs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from clm_dl.data.store.history import count_before

logs_of_days = st.lists(st.lists(st.integers(0, 30), max_size=6).map(sorted), min_size=1, max_size=5).filter(any)


@settings(max_examples=60, deadline=None)
@given(logs=logs_of_days, at=st.integers(-1, 31))
def test_count_before_equals_counting(logs: list[list[int]], at: int) -> None:
    offsets = np.concatenate([[0], np.cumsum([len(log) for log in logs])])
    time = np.array([day for log in logs for day in log], dtype=np.int64)
    counted = count_before(offsets, time, np.arange(len(logs)), at)
    assert counted.tolist() == [sum(day < at for day in log) for log in logs]
