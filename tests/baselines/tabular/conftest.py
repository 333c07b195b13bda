"""Cases of which the feature table is given, split by time."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.snapshots.cutoffs import DAY
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.files import write_store
from clm_dl.tasks.cases import Cases


@pytest.fixture(scope="session")
def cases_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cases]:
    """Function (features, label [N], …) -> Cases of N customers, once each: 4 eighths train, 1 and 1 validate at two
    cutoffs, 2 test.
    """

    def make(
        X: pd.DataFrame,
        label: np.ndarray,
        *,
        horizon_days: float = 28.0,
        outcome: np.ndarray | None = None,
        target_NK: np.ndarray | None = None,
        embedding: pd.DataFrame | None = None,
    ) -> Cases:
        num = len(label)
        index, part = np.arange(num), np.digitize(np.arange(num), [num // 2, num * 5 // 8, num * 3 // 4])
        nothing = {"columns": {}, "fields": [], "dictionaries": {}, "end": DAY, "fingerprint": "rows"}
        path = tmp_path_factory.mktemp("rows") / "store"
        store = write_store(path, customer_ids=index, offsets=np.arange(num + 1), time=np.zeros(num), **nothing)
        snapshots = Snapshots(
            customer=index,
            cutoff=DAY * (1 + part),
            split=np.array(["train", "val", "val", "test"])[part],
            label=label,
            start=index,
            stop=index + 1,
            recent=index % 2 == 0,
            horizon_days=horizon_days,
            gap_days=0.0,
        )
        memo = {"features": X, "embedding": embedding}
        return Cases(store, snapshots, label if outcome is None else outcome, target_NK, memo=memo)

    return make
