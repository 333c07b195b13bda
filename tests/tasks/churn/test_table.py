"""A table without time: what is read, what is quarantined, and scores that no customer's own label has touched."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from support import config_of

from clm_dl.errors import UserError
from clm_dl.experiment.settings import read_task
from clm_dl.tasks.churn.table import read_table


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    num = 300
    tenure = rng.integers(0, 70, num)
    return pd.DataFrame(
        {
            "id": [f"{i:04d}-X" for i in range(num)],
            "plan": rng.choice(["monthly", "yearly"], num),
            "tenure": tenure,
            "charges": [" " if months == 0 else f"{20.5 * months:.2f}" for months in tenure],
            "paperless": rng.random(num) < 0.5,
            "left": np.where(rng.random(num) < 1 / (1 + np.exp(0.08 * (tenure - 15))), "Yes", "No"),
        }
    )


def settings(**changes) -> dict:
    data = config_of("data=table", "encoder=none")["data"]
    return data | {"roles": {"customer": "id"}, "label": "left", "positive": "Yes", "folds": 3} | changes


def table_scores(data: dict, *overrides: str) -> tuple[pd.DataFrame, dict]:
    """Of the network that `data` names and of the baselines of the overrides."""
    task = read_task({**config_of("data=table", "encoder=none", *overrides), "data": data})
    return task.table_scores(data)


def test_kinds_are_inferred_and_blank_numbers_are_missing(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    frame.to_csv(path, index=False)
    ids, X, y, counts = read_table(settings(path=str(path)))
    assert X.columns.tolist() == ["plan", "tenure", "charges", "paperless"]
    assert [pd.api.types.is_numeric_dtype(X[name]) for name in X] == [False, True, True, False]
    assert X["charges"].isna().tolist() == (frame["tenure"] == 0).tolist()
    assert y.tolist() == (frame["left"] == "Yes").astype(int).tolist()
    assert ids.tolist() == frame["id"].tolist()
    assert {key: counts[key] for key in ("rows_in", "kept", "quarantined", "duplicates")} == {
        "rows_in": 300,
        "kept": 300,
        "quarantined": 0,
        "duplicates": 0,
    }


def test_named_columns_are_forced(frame: pd.DataFrame) -> None:
    _, X, _, _ = read_table(settings(frame=frame, categorical=["tenure"], numeric=["charges"]))
    assert X.columns.tolist() == ["tenure", "charges"]
    assert not pd.api.types.is_numeric_dtype(X["tenure"])
    _, X, _, _ = read_table(settings(frame=frame, exclude=["tenure"]))
    assert "tenure" not in X


def test_quarantine_counts_add_up(frame: pd.DataFrame) -> None:
    frame.loc[0, "left"] = None
    frame.loc[1, "left"] = " "
    frame.loc[2, "id"] = None
    frame.loc[4, "id"] = frame.loc[3, "id"]
    ids, X, y, counts = read_table(settings(frame=frame))
    assert counts["quarantine_reasons"] == {"missing customer": 1, "missing label": 2, "repeated customer": 1}
    assert counts["rows_in"] == counts["kept"] + counts["quarantined"] + counts["duplicates"] == 300
    assert len(ids) == len(X) == len(y) == counts["kept"] == 296


def test_out_of_fold_scores_of_baselines_and_network(frame: pd.DataFrame) -> None:
    network = settings()["network"] | {"max_epochs": 20}
    data = settings(frame=frame, network=network)
    scores, counts = table_scores(data, "baselines=[recency,logistic]")
    assert scores["model"].unique().tolist() == ["network", "logistic"]  # the table has no recency
    assert scores.columns.tolist() == [
        "customer_id",
        "cutoff",
        "split",
        "model",
        "task",
        "horizon",
        "score",
        "score_raw",
        "label",
        "recent",
    ]
    assert set(scores["split"]) == {"test"}
    assert scores["cutoff"].isna().all()
    for _, part in scores.groupby("model"):
        assert part["customer_id"].tolist() == frame["id"].tolist()
        assert roc_auc_score(part["label"], part["score"]) > 0.7
        assert part["score"].mean() == pytest.approx(part["label"].mean(), abs=0.05)
    again, _ = table_scores(data, "baselines=[recency,logistic]")
    pd.testing.assert_frame_equal(scores, again, check_exact=True)
    assert counts["customers"] == 300


def test_a_column_that_gives_the_label_is_said(frame: pd.DataFrame) -> None:
    bayes = np.where(frame["left"] == "Yes", 0.99, 0.01) + np.linspace(0, 0.005, len(frame))
    _, counts = table_scores(settings(frame=frame.assign(bayes=bayes), network=None), "baselines=[logistic]")
    assert counts["leakage"]["columns"] == {"bayes": 1.0}
    assert "leakage" not in table_scores(settings(frame=frame, network=None), "baselines=[logistic]")[1]


def test_what_needs_a_horizon_is_left_out_of_a_table_without_time(frame: pd.DataFrame) -> None:
    columns = frame.assign(recency=1.0, orders=2.0)
    scores, _ = table_scores(settings(frame=columns, network=None), "baselines=[bg_nbd,recency]")
    assert scores["model"].unique().tolist() == ["recency"]


def test_labels_without_signal_score_at_chance(frame: pd.DataFrame) -> None:
    """Out of fold means that a model cannot repeat the labels it has seen."""
    frame["left"] = np.random.default_rng(1).permutation(frame["left"])
    deep = ("baseline.tree.max_depth=null", "baseline.tree.min_samples_leaf=1")
    scores, _ = table_scores(settings(frame=frame, network=None), "baselines=[tree]", *deep)
    assert 0.35 < roc_auc_score(scores["label"], scores["score_raw"]) < 0.65
    assert log_loss(scores["label"], scores["score"]) < 0.7  # calibrated on rows the tree had not seen


@pytest.mark.parametrize("words", [("1", "0"), ("true", "False"), ("yes", "no"), (1, 0), (True, False)])
def test_the_usual_words_need_no_positive(frame: pd.DataFrame, words: tuple) -> None:
    expected = (frame["left"] == "Yes").astype(int).tolist()
    frame["left"] = [words[0] if value == "Yes" else words[1] for value in frame["left"]]
    assert read_table(settings(frame=frame, positive=None))[2].tolist() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "lef"}, "no column 'lef' .did you mean 'left'"),
        ({"numeric": ["tenur"]}, "data.numeric: the table has no column 'tenur'"),
        (
            {"positive": "Maybe"},
            "data.positive must name the value of 'left' that means churn, got 'Maybe', values are No, Yes",
        ),
        ({"label": "plan", "positive": None}, "data.positive must name"),
        ({"folds": 1}, "data.folds must be from 2"),
        ({"frame": None, "path": None}, "data.path is not set"),
    ],
)
def test_bad_input_is_one_sentence(frame: pd.DataFrame, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table_scores(settings(**{"frame": frame, **changes}), "baselines=[logistic]")


def test_missing_file_and_one_class(frame: pd.DataFrame) -> None:
    with pytest.raises(FileNotFoundError, match="no file nowhere"):
        read_table(settings(path="nowhere.csv"))
    with pytest.raises(ValueError, match="one class only"):
        read_table(settings(frame=frame.assign(left="Yes")))
    with pytest.raises(ValueError, match="all rows are quarantined"):
        read_table(settings(frame=frame.assign(left=None)))


def test_a_csv_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = ["id,plan,zip,spend,left"]
    rows += [
        f"{i:03d},{('NA', 'None', 'gold')[i % 3]},0{i % 7}123,{'NULL' if i == 4 else i},{'Yes' if i % 2 else 'No'}"
        for i in range(40)
    ]
    path.write_text("\n".join([*rows, "NULL,gold,01123,1,Yes", "7.0,gold,01123,1,nan"]) + "\n")
    ids, X, _, counts = read_table(settings(path=str(path)))
    assert ids.tolist() == [f"{i:03d}" for i in range(40)]
    assert sorted(X["plan"].unique()) == ["NA", "None", "gold"]
    assert X["zip"][0] == "00123"  # a code, no number
    assert X["spend"].isna().sum() == 1
    assert X["spend"].dtype == float
    assert counts["quarantine_reasons"] == {"missing customer": 1, "missing label": 1}


def test_ids_keep_their_zeros_as_far_as_the_scores(frame: pd.DataFrame, tmp_path: Path) -> None:
    ids = [f"{number:06d}" for number in range(len(frame))]
    frame.assign(id=ids).to_csv(tmp_path / "table.csv", index=False)
    scores, _ = table_scores(settings(path=str(tmp_path / "table.csv"), network=None), "baselines=[base_rate]")
    assert scores["customer_id"].tolist() == ids


@pytest.mark.parametrize("ids", [[5, 7], [5.0, 7.0], ["5.0", "7.0"]])
def test_whole_numbers_are_the_same_customers_however_they_are_written(ids: list, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    frame = pd.DataFrame({"id": ids, "n": [1, 2], "left": ["Yes", "No"]})
    frame.to_csv(path, index=False)
    assert read_table(settings(path=str(path)))[0].tolist() == [5, 7]


def test_a_customer_written_in_two_ways_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,n,left\n7,1,Yes\n7.0,2,No\n5,3,No\n")
    ids, *_, counts = read_table(settings(path=str(path), max_quarantined=1))
    assert ids.tolist() == [7, 5]
    assert counts["quarantine_reasons"] == {"repeated customer": 1}


@pytest.mark.parametrize(
    ("columns", "message"), [(["id", "n", "n", "left"], "two columns 'n'"), (["id", "5", 5, "left"], "two columns '5'")]
)
def test_columns_of_one_name_are_refused(columns: list, message: str) -> None:
    frame = pd.DataFrame([[1, 1.0, 2.0, "yes"], [2, 2.0, 3.0, "no"]])
    with pytest.raises(UserError, match=message):
        read_table(settings(frame=frame.set_axis(columns, axis=1)))


def test_repeats_of_a_table_that_cross_folds_are_counted(frame: pd.DataFrame) -> None:
    twice = pd.concat([frame, frame.iloc[:60].assign(id=lambda rows: "again " + rows["id"])], ignore_index=True)
    _, counts = table_scores(settings(frame=twice, network=None), "baselines=[base_rate]")
    assert counts["repeats"] >= 120
    assert 0 < counts["repeats_across_folds"] <= counts["repeats"]
    assert (
        table_scores(settings(frame=frame.assign(tenure=range(300)), network=None), "baselines=[base_rate]")[1][
            "repeats"
        ]
        == 0
    )


def test_decimal_commas_are_numbers_and_codes_are_text(tmp_path: Path) -> None:
    rows = ["id;x;income;code;left", "0001;0,126;574,88;007;Yes", "0002;-0,132;1.385,62;012;No", "0003;;2;100;No"]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    said: list[str] = []
    data = settings(path=str(tmp_path / "table.csv"), folds=2)
    ids, X, _, _ = read_table(data, said.append)
    assert ids.tolist() == ["0001", "0002", "0003"]
    assert X["x"].tolist()[:2] == [0.126, -0.132]
    assert np.isnan(X["x"][2])
    assert X["income"].tolist() == [574.88, 1385.62, 2]
    assert X["code"].tolist() == ["007", "012", "100"]
    assert said[0].startswith("table: 3 rows in = 3 kept")
    assert said[1:] == [
        f"numbers of {name} are read with decimal ',' and thousands '.' (data.decimal, data.thousands)"
        for name in ("x", "income")
    ]
    with pytest.raises(ValueError, match="such as '1,234': set data\\.decimal"):
        read_table(
            data | {"path": None, "frame": pd.DataFrame({"id": ["a", "b"], "v": ["1,234", "7"], "left": ["Yes", "No"]})}
        )


def test_values_of_a_numeric_column_that_are_none_are_said(frame: pd.DataFrame) -> None:
    said: list[str] = []
    _, X, _, _ = read_table(
        settings(frame=frame.assign(charges=["much", "1.5", "inf"] * 100), numeric=["charges"]), said.append
    )
    assert X["charges"].notna().sum() == 100
    assert said[1:] == ["table: 200 values of charges are no finite numbers and count as missing"]


def test_rows_are_said_and_too_many_quarantined_are_an_error(frame: pd.DataFrame) -> None:
    twice = pd.concat([frame, frame.iloc[:30]], ignore_index=True)
    said: list[str] = []
    with pytest.raises(ValueError, match=r"30 of 330 rows .*\(repeated customer: 30\); .* data.max_quarantined=0.05"):
        read_table(settings(frame=twice), said.append)
    read_table(settings(frame=twice, max_quarantined=0.1), said.append)
    assert said == ["table: 330 rows in = 300 kept + 30 quarantined (repeated customer: 30) + 0 duplicates"] * 2
