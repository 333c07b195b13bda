"""A table of customers with a given label and no time: out-of-fold scores of a network and the baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.model_selection import StratifiedKFold, train_test_split

from clm_dl.baselines.tabular.classifier import TabularClassifier
from clm_dl.data.ids import MISSING_WORDS, as_numbers, customer_ids, untyped
from clm_dl.data.log.counts import describe_counts, describe_reasons
from clm_dl.data.log.roles import share
from clm_dl.data.tables import PARQUET
from clm_dl.data.tables import read_table as read_rows
from clm_dl.data.text import inner_suffix
from clm_dl.errors import MissingFile, UserError, nearest
from clm_dl.evaluation.calibration import PlattCalibrator
from clm_dl.evaluation.leakage import leakage
from clm_dl.tasks.churn.table_columns import as_text, features
from clm_dl.tasks.settings import Settings

POSITIVE = ("1", "1.0", "true", "yes", "y")
NEGATIVE = ("0", "0.0", "false", "no", "n")
CALIBRATION_SHARE = 0.2  # of each fold's training rows: early stopping and Platt calibration


def table_scores(
    data: Mapping[str, Any], settings: Settings, say: Callable[[str], None] = print
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Stratified K-fold: every customer is scored by models whose training and calibration rows lie in the other folds.

    Args:
        data: the keys of configs/data/table.yaml; `frame` (pandas, Polars or Arrow) may stand in for `path`.
        settings: with the network and the chosen baselines; those that see columns which the table lacks (recency), or
            need a horizon, are left out.

    Returns:
        Rows of the Scores table (split "test", cutoff NaT, horizon NaN, recent false), and counts: rows_in, kept,
        quarantined, duplicates, quarantine_reasons, customers, fingerprint, leakage.

    Raises:
        ValueError, FileNotFoundError: one sentence on the path, a column, the label or the folds.
    """
    ids, X, label, counts = read_table(data, say)
    folds, seed = data.get("folds", 5), settings.seed
    rare = int(min(label.sum(), len(label) - label.sum()))
    if not 2 <= folds <= rare // 2:
        raise UserError(f"data.folds must be from 2 to half of the rarer class ({rare} rows), got {folds}")
    specs = [
        spec
        for spec in settings.specs
        if set(spec.columns or ()) <= set(X.columns) and not hasattr(spec.make(), "horizon_days")
    ]
    raw, score = np.zeros((2, len(specs), len(label)))
    fold_of = np.zeros(len(label), dtype=np.int64)
    for fold, (train, test) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(X, label)):
        fold_of[test] = fold
        fitting, held = train_test_split(train, test_size=CALIBRATION_SHARE, stratify=label[train], random_state=seed)
        for row, spec in enumerate(specs):
            model = TabularClassifier.of(spec, impute=settings.impute, imbalance=settings.imbalance, seed=seed)
            model.fit(X.iloc[fitting], label[fitting], X.iloc[held], label[held])
            calibrator = PlattCalibrator(prior=model.prior).fit(model.raw_score(X.iloc[held]), label[held])
            raw[row, test] = model.raw_score(X.iloc[test])
            score[row, test] = calibrator.predict(raw[row, test])
    counts |= _repeats(X, label, fold_of)
    never = pd.Series(pd.NaT, index=range(len(ids)), dtype="datetime64[us, UTC]")
    shared = {"customer_id": ids, "cutoff": never, "split": "test", "task": "churn", "horizon": np.nan}
    last = {"label": label.astype(float), "recent": False}
    parts = [
        pd.DataFrame({**shared, "model": spec.name, "score": score[row], "score_raw": raw[row], **last})
        for row, spec in enumerate(specs)
    ]
    columns = ["customer_id", "cutoff", "split", "model", "task", "horizon", "score", "score_raw", "label", "recent"]
    return pd.concat(parts, ignore_index=True)[columns], counts | leakage(X, label, np.arange(len(label)))


def _repeats(X: pd.DataFrame, label: np.ndarray, fold: np.ndarray) -> dict[str, int]:
    """Rows that are equal to another customer's in every column and the label, and those of them with one in another
    fold: what a model learnt there by heart helps it here.
    """
    rows = X.set_axis(range(X.shape[1]), axis=1).assign(label=label)
    alike = rows.groupby(list(rows.columns), dropna=False, sort=False).ngroup()
    folds = pd.Series(fold).groupby(alike.to_numpy()).transform("nunique").to_numpy()
    return {"repeats": int(alike.duplicated(keep=False).sum()), "repeats_across_folds": int((folds > 1).sum())}


def read_table(
    data: Mapping[str, Any], say: Callable[[str], None] = print
) -> tuple[np.ndarray, pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Customer ids `[N]`, features `[N, F]` (float or text columns), labels `[N]` in {0, 1}, counts; arguments as in
    `table_scores`.

    Quarantined: rows without a customer or a label, and all but the first row of a customer.
    """
    frame = _load(data)
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"the table has two columns {twice[0]!r}: give each a name of its own")
    rows_in = len(frame)
    customer, label = (data.get("roles") or {}).get("customer"), data["label"]
    named = {"data.label": [label], "data.roles.customer": [customer] if customer is not None else []}
    named |= {f"data.{key}": list(data.get(key) or []) for key in ("categorical", "numeric", "exclude")}
    for key, names in named.items():
        for name in names:
            if name not in frame:
                raise UserError(f"{key}: the table has no column {name!r}{nearest(str(name), map(str, frame.columns))}")
    ids = frame[customer] if customer is not None else pd.Series(np.arange(rows_in), index=frame.index)
    plain_text = customer is not None and data.get("frame") is None and inner_suffix(Path(data["path"])) not in PARQUET
    if customer is not None and not pd.api.types.is_integer_dtype(ids):  # one rule for ids, wherever they come from
        texts = untyped(customer_ids(ids)) if plain_text else customer_ids(ids)
        ids = pd.Series(texts.to_numpy(zero_copy_only=False), index=frame.index)
    text = as_text(frame[label])
    text = text.mask(text.isin(MISSING_WORDS))
    reasons = {
        "missing customer": as_text(ids).isna(),
        "missing label": text.isna(),
        "repeated customer": ids.duplicated(),
    }
    reason = pd.Series(
        np.select([mask.to_numpy() for mask in reasons.values()], list(reasons), default=""), index=frame.index
    )
    keep = (reason == "").to_numpy()
    counts: dict[str, Any] = {
        "rows_in": rows_in,
        "kept": int(keep.sum()),
        "quarantined": int((~keep).sum()),
        "duplicates": 0,
        "quarantine_reasons": {name: int((reason == name).sum()) for name in reasons if (reason == name).any()},
    }
    say(f"table: {describe_counts(counts)}")
    limit = share(data.get("max_quarantined"), "data.max_quarantined")
    if keep.any() and limit is not None and counts["quarantined"] > limit * rows_in:
        raise UserError(
            f"{counts['quarantined']:,} of {rows_in:,} rows of the table were quarantined{describe_reasons(counts)}; "
            f"that is more than data.max_quarantined={limit:g}: check data.roles.customer and data.label, or allow it "
            "by data.max_quarantined=1"
        )
    frame, ids, text = frame[keep].reset_index(drop=True), ids[keep], text[keep]
    y = _label(text, data.get("positive"), label)
    taken = {label, customer, *named["data.exclude"]}
    X = features(frame[[name for name in frame.columns if name not in taken]], data, say)
    digest = hashlib.blake2b("\0".join(map(str, ids)).encode() + y.astype("<i1").tobytes(), digest_size=16)
    counts |= {"customers": len(y), "fingerprint": digest.hexdigest()}
    if plain_text:
        return as_numbers(pa.array(ids, pa.string())).to_numpy(zero_copy_only=False), X, y, counts
    return ids.to_numpy(), X, y, counts


def _load(data: Mapping[str, Any]) -> pd.DataFrame:
    frame = data.get("frame")
    if frame is not None:
        return frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
    if not data.get("path"):
        raise UserError("data.path is not set, so give a CSV or Parquet file with one row a customer")
    path = Path(data["path"])
    if not path.is_file():
        raise MissingFile(f"data.path: no file {path}, so give a CSV or Parquet file with one row a customer")
    return read_rows(path)


def _label(text: pd.Series, positive: Any, name: str) -> np.ndarray:
    values = sorted(text.unique())
    if not values:
        raise UserError(
            f"data.label: no row of the table has a customer and a value in {name!r}, so all rows are quarantined"
        )
    chosen = [str(positive)] if positive is not None else [value for value in values if value.lower() in POSITIVE]
    if isinstance(positive, bool):  # YAML reads an unquoted yes or true as a bool
        chosen = [value for value in values if value.lower() in (POSITIVE if positive else NEGATIVE)]
    others = [value for value in values if value not in chosen and (positive is not None or value.lower() in NEGATIVE)]
    if not set(chosen) & set(values) or len(chosen) + len(others) < len(values):
        raise UserError(
            f"data.positive must name the value of {name!r} that means churn, got {positive!r}, values are "
            f"{', '.join(values[:10])}"
        )
    y = text.isin(chosen).to_numpy().astype(np.int64)
    if y.all():
        raise UserError(
            f"one class only: all {len(y)} rows have {chosen[0]!r} in {name!r}, so there is nothing to learn"
        )
    return y
