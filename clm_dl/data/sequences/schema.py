"""The schema of a run: which fields its batches hold and how they are scaled; fitted on training history, then only
applied.

Shapes: U distinct attributes of a customer at a cutoff, N snapshots, S static inputs, K known-future columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clm_dl.data.sequences.tokens import DAY, Sequences
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.attributes import is_number
from clm_dl.errors import UserError

SCHEMA_VERSION = 1
NUM_BINS = 8  # of the piecewise linear encoding of a number at the head
_SAMPLE = 2_000_000  # values that a median looks at: more move it in no digit that matters


def fit_schema(
    sequences: Sequences, vocabulary: Vocabulary, training: Snapshots, known: pd.DataFrame, static: pd.DataFrame
) -> dict[str, Any]:
    """Plain dict, JSON-able, from the histories of the training snapshots alone, and their attributes `static`.

    Keys: version, token, bags; categorical {field: number of ids}; numeric {field: scale} of sign(x)·log1p|x|;
    time {gap, age: scale};
    head {recency, tenure and each column of static_BS: scale}; known {column of known_BK: scale};
    static {attribute: known values, or None for a number}. A scale is {"center": median, "scale": interquartile range},
    at the head with "edges": quantiles between which `nn.heads.PiecewiseLinear` encodes the number.
    """
    seen = np.flatnonzero(sequences.visible_tokens(training))
    seen = seen[:: max(1, len(seen) // _SAMPLE)]
    values = sequences.values[seen].astype(np.float64)
    values = np.sign(values) * np.log1p(np.abs(values))
    first, last = sequences.token_range(training)
    attributes: dict[str, list[str] | None] = {}
    head = {
        "recency": binned_scale(np.log1p((training.cutoff - sequences.time[last - 1]) / DAY)),
        "tenure": binned_scale(np.log1p((training.cutoff - sequences.time[first]) / DAY)),
    }
    for name in static.columns:
        if is_number(static[name]):
            attributes[str(name)] = None
            head[f"static.{name}"] = binned_scale(static[name].to_numpy(np.float64, na_value=np.nan))
        else:
            levels = sorted(set(_text(static[name]).dropna()))
            attributes[str(name)] = levels
            head |= {f"static.{name}={value}": {"center": 0.0, "scale": 1.0} for value in [*levels, "missing"]}
    return {
        "version": SCHEMA_VERSION,
        "token": sequences.token,
        "bags": sequences.token == "order",
        "categorical": vocabulary.sizes,
        "numeric": {name: robust_scale(values[:, place]) for place, name in enumerate(sequences.numeric)},
        "time": {"gap": robust_scale(sequences.gap[seen]), "age": robust_scale(sequences.age[seen])},
        "head": head,
        "known": {str(name): binned_scale(known[name].to_numpy()) for name in known.columns},
        "static": attributes,
    }


def blank_schema(token: str) -> dict[str, Any]:
    """A schema of a log with one field of each kind: to find out, before data are read, whether a network can be."""
    scale = {"center": 0.0, "scale": 1.0}
    return {
        "version": SCHEMA_VERSION,
        "token": token,
        "bags": token == "order",
        "categorical": {"item": 3},
        "numeric": {"amount": scale},
        "time": {"gap": scale, "age": scale},
        "head": {name: {**scale, "edges": []} for name in ("recency", "tenure")},
        "known": {},
        "static": {},
    }


def check_schema(
    schema: Mapping[str, Any], *, token: str, vocabulary: Vocabulary, known: Sequence[str], static: Sequence[str]
) -> None:
    """Raise ValueError, in one sentence, where a given schema does not fit what is to be read with it."""
    if schema.get("version") != SCHEMA_VERSION:
        raise UserError(
            f"schema has version {schema.get('version')}, this clm_dl reads version {SCHEMA_VERSION}: train the run "
            "again"
        )
    if schema["token"] != token:
        raise UserError(
            f"the run was trained on {schema['token']} tokens, got sequence.token={token}: use the run's own setting"
        )
    if dict(schema["categorical"]) != vocabulary.sizes:
        raise UserError(
            f"the vocabulary ({vocabulary.sizes}) is not the one of the schema ({dict(schema['categorical'])}): take "
            "both from the same run"
        )
    if missing := [name for name in schema["known"] if name not in known]:
        raise UserError(
            f"the run was trained with {missing[0]!r}, known at the cutoff, got {list(known)}: give the same columns "
            "and the same data.calendar"
        )
    if missing := [name for name in schema["static"] if name not in static]:
        raise UserError(
            f"the run was trained with the customer attribute {missing[0]!r}, which the store lacks: name it in "
            "data.static"
        )


def static_inputs(schema: Mapping[str, Any], static: pd.DataFrame) -> np.ndarray:
    """float32 `[U, S]` in the order of `schema["head"]`: one-hot values (all 0: never in training), raw numbers."""
    columns = []
    for name, values in schema["static"].items():
        if values is None:
            number = pd.to_numeric(static[name], errors="coerce")
            columns.append(number.to_numpy(np.float32, na_value=np.nan))
        else:
            text = _text(static[name])
            columns += [(text == value).fillna(False).to_numpy(np.float32) for value in values] + [
                text.isna().to_numpy(np.float32)
            ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(static), 0), dtype=np.float32)


def robust_scale(values: np.ndarray) -> dict[str, float]:
    """Median and interquartile range; the standard deviation, then 1, where that range is 0. NaN left out."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return {"center": 0.0, "scale": 1.0}
    low, center, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"center": float(center), "scale": float(high - low) or float(values.std()) or 1.0}


def binned_scale(values: np.ndarray) -> dict[str, Any]:
    """`robust_scale` with the distinct edges of 8 bins of equal mass (none where the values are all the same)."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    edges = (
        np.unique(np.quantile(finite, np.linspace(0, 1, NUM_BINS + 1)).astype(np.float32))
        if len(finite)
        else np.zeros(0)
    )
    return {**robust_scale(values), "edges": edges.tolist() if len(edges) > 1 else []}


def _text(column: pd.Series) -> pd.Series:
    return column.map(str, na_action="ignore")
