"""Importance of the settings of a sweep: the share of the objective's variance that each explains by itself.

Functional ANOVA on a forest (Hutter, Hoos and Leyton-Brown 2014), main effects alone: a forest learns the objective
from the settings; its prediction with one setting fixed, averaged over the others as the trials have them, is that
setting's marginal, and the variance of the marginal over the trials is held against that of the objective.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

TREES = 200
FEWEST = 5  # trials, below which nothing is said


def importance(table: pd.DataFrame) -> pd.DataFrame:
    """Columns objective, setting, share, trials; of each objective the most important setting first.

    Args:
        table: ranked trials, see `trials.rank`. Nothing is said of fewer than five trials or of a single setting.
    """
    start, end = (table.columns.get_loc(name) for name in ("trial", "state"))
    settings, found = list(table.columns[start + 1 : end]), []
    for name, part in table[table["value"].notna()].groupby("objective", sort=False):
        varied = [setting for setting in settings if part[setting].nunique(dropna=False) > 1]
        if len(part) >= FEWEST and len(varied) > 1 and part["value"].nunique() > 1:
            shares = _shares(part[varied], part["value"].to_numpy(dtype=np.float64))
            rows = {"objective": name, "setting": varied, "share": shares, "trials": len(part)}
            found.append(pd.DataFrame(rows).sort_values("share", ascending=False, kind="stable"))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["objective", "setting", "share"])


def _shares(settings: pd.DataFrame, value_N: np.ndarray) -> list[float]:
    from sklearn.ensemble import RandomForestRegressor  # a second to import

    X = np.column_stack([_numbers(settings[name]) for name in settings])
    forest = RandomForestRegressor(TREES, random_state=0).fit(X, value_N)
    shares = []
    for column, of_N in enumerate(X.T):
        known, place_N = np.unique(of_N, return_inverse=True)
        asked = np.tile(X, (len(known), 1))
        asked[:, column] = np.repeat(known, len(X))
        marginal = forest.predict(asked).reshape(len(known), len(X)).mean(axis=1)
        shares.append(float(marginal[place_N].var() / value_N.var()))
    return shares


def _numbers(column: pd.Series) -> np.ndarray:
    """The values in their order; text and what is missing as numbers of their own."""
    if pd.api.types.is_numeric_dtype(column):
        return column.fillna(column.min() - 1).to_numpy(dtype=np.float64)
    return pd.factorize(column.astype(str), sort=True)[0].astype(np.float64)
