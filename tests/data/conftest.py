"""Fixtures of the data tests: a store of the small log, written without going through prepare."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clm_dl.data.store.files import write_store
from clm_dl.data.store.store import EventStore, Field


@pytest.fixture(scope="session")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EventStore]:
    """Function frame -> EventStore: customer `cust`, time `ts`; text columns are categorical, the others numeric."""

    def build(frame: pd.DataFrame, *, end: str = "2020-07-19", static: pd.DataFrame | None = None) -> EventStore:
        frame = frame.sort_values(["cust", "ts"], kind="stable")
        ids, first = np.unique(frame["cust"].to_numpy(object), return_index=True)
        columns, dictionaries, fields = {}, {}, []
        for name in frame.columns.drop(["cust", "ts"]):
            if pd.api.types.is_numeric_dtype(frame[name]):
                columns[name] = frame[name].to_numpy()
                fields.append(Field(name, "numeric"))
            else:
                columns[name], values = pd.factorize(frame[name], sort=True)
                dictionaries[name] = np.asarray(values, dtype=object)
                fields.append(Field(name, "categorical"))
        path: Path = tmp_path_factory.mktemp("store") / "store"
        return write_store(
            path,
            customer_ids=ids,
            offsets=np.append(first, len(frame)),
            time=frame["ts"].astype("datetime64[us]").astype(np.int64).to_numpy(),
            columns=columns,
            fields=fields,
            dictionaries=dictionaries,
            end=pd.Timestamp(end).value // 1000,
            fingerprint="small",
            static=static,
        )

    return build


@pytest.fixture(scope="session")
def small_store(small_log: pd.DataFrame, store_of: Callable[..., EventStore]) -> EventStore:
    return store_of(small_log)
