"""Together: one customer attribute of which several tables tell, each of its own customers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clm_dl.data.store.attributes import Changes, is_number
from clm_dl.errors import UserError


def together(name: str, first: Changes, second: Changes, tables: tuple[str, str], customers: pd.Index) -> Changes:
    """The changes of an attribute by two tables; of one time a value counts before none. UserError where they differ:
    about a customer at one time, or in what the attribute is.
    """
    _check_kinds(name, first.values[name], second.values[name], tables)
    codes = [np.repeat(np.arange(len(customers)), np.diff(part.offsets)) for part in (first, second)]
    told = pd.DataFrame(
        {
            "customer": np.concatenate(codes),
            "time": np.concatenate([first.time, second.time]),
            "value": pd.concat([first.values[name], second.values[name]], ignore_index=True),
        }
    )
    at = told.groupby(["customer", "time"])["value"]
    differ = at.nunique() > 1
    if differ.any():
        customer, time = differ.idxmax()
        one, other = at.get_group((customer, time)).dropna().unique()[:2].tolist()
        raise UserError(
            f"{tables[0]} and {tables[1]} tell two things of customer {customers[customer]}: {name} is {one!r} and "
            f"{other!r}; leave it out of one of them (data.joins[].columns)"
        )
    known = at.first().reset_index()
    values = known[["value"]].set_axis([name], axis=1)
    return Changes.of(known["customer"].to_numpy(), known["time"].to_numpy(), values, len(customers))


def _check_kinds(name: str, first: pd.Series, second: pd.Series, tables: tuple[str, str]) -> None:
    parts = [values for values in (first, second) if values.notna().any()]
    kinds = ["numbers" if is_number(values) else pd.api.types.infer_dtype(values, skipna=True) for values in parts]
    if len(set(kinds)) > 1:
        raise UserError(
            f"the customer attribute {name} is of kind {kinds[0]} in {tables[0]} and {kinds[1]} in {tables[1]}: write "
            "it one way in both, or leave it out of one of them (data.joins[].columns)"
        )
