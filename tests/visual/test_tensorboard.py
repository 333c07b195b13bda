"""TensorBoard of a finished run: figures, curves, final scalars, hparams and the projector, read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shown import events_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter

from clm_dl.run import Run
from clm_dl.visual.results import Results
from clm_dl.visual.tensorboard import flatten, write_projector, write_results


def test_final_writes_are_read_back(make_results: Callable[..., Results], tmp_path: Path) -> None:
    results = make_results()
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    metadata = pd.DataFrame({"customer_id": list("abcdef"), "label": [0.0, 1, np.nan, 0, 1, 0]})
    with SummaryWriter(str(tmp_path / "tb")) as writer:
        hparams = {"seed": 0, "encoder": {"name": "lstm", "sizes": [1, 2]}}
        write_results(writer, [results], hparams, ("customers", vectors, metadata))
    events = events_of(tmp_path / "tb")
    (scalar,) = events.Scalars("test/auroc")
    assert abs(scalar.value - results.overall["network"]["auroc"]["value"]) < 1e-6
    assert "test_logistic/auroc" in events.Tags()["scalars"]
    assert {"test/reliability", "test/gain", "test/score_histogram"} <= set(events.Tags()["images"])
    plugins = events.summary_metadata
    assert plugins["test/pr_curve_network"].plugin_data.plugin_name == "pr_curves"
    hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert hparams.plugin_name == "hparams"
    assert b"encoder.name" in hparams.content
    assert b"lstm" in hparams.content
    (projected,) = (tmp_path / "tb").glob("**/metadata.tsv")
    assert projected.read_text().splitlines()[:2] == ["customer_id\tlabel", "a\t0.0"]
    assert len(list((tmp_path / "tb").glob("**/events.out*"))) == 1


SHOWN = ("auroc", "auprc", "auprc_stay", "log_loss", "brier", "ece", "lift@10", "recall@10", "accuracy", "f1")
DRAWN = ("auroc_interval", "reliability", "precision_recall", "roc", "gain", "score_histogram", "profit")
TRAINING = {"epoch", "lr-AdamW/pg1", "lr-AdamW/pg2", "val/log_loss", "val/auroc"}
TRAINING |= {f"train/{name}" for name in ("loss", "gradient_norm", "events_per_second", "padding_ratio")}


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    return events_of(run.path)


@pytest.fixture(scope="module")
def tested(run: Run) -> pd.DataFrame:
    """What the network says of the test snapshots."""
    return run.scores[(run.scores["split"] == "test") & (run.scores["model"] == "network")]


def test_a_finished_run_has_every_tag_with_the_values_of_its_metrics(run: Run, events: EventAccumulator) -> None:
    tags, overall = events.Tags(), run.metrics["split"]["test"]["overall"]
    parts = {"test": "network", "test_recency": "recency", "test_logistic": "logistic"}
    final = {f"{part}/{metric}": overall[name][metric]["value"] for part, name in parts.items() for metric in SHOWN}
    assert set(tags["scalars"]) == set(final) | TRAINING
    for tag, value in final.items():
        assert [item.value for item in events.Scalars(tag)] == [pytest.approx(value, rel=1e-6)], tag
    assert set(tags["images"]) == {f"test/{name}" for name in DRAWN}
    assert set(tags["histograms"]) == {f"weight/{name}" for name, _ in run.task.named_parameters()}
    assert tags["graph"]
    epochs = run.config["trainer"]["max_epochs"]
    assert all(len(events.Scalars(tag)) == epochs for tag in ("val/log_loss", "val/auroc", "train/padding_ratio"))
    assert all(len(events.Histograms(tag)) == epochs for tag in tags["histograms"])


def test_a_finished_run_has_a_curve_of_every_model_and_what_it_was_made_with(
    run: Run, events: EventAccumulator, tested: pd.DataFrame
) -> None:
    label = tested["label"].dropna()
    for name in run.metrics["split"]["test"]["overall"]:
        (curve,) = events.Tensors(f"test/pr_curve_{name}")
        right, wrong = make_ndarray(curve.tensor_proto)[:2, 0]
        assert (right, wrong) == (label.sum(), (1 - label).sum())  # above a threshold of 0 are all
    hparams = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    given = hparams.session_start_info.hparams
    assert given["seed"].number_value == 0
    assert given["encoder.hidden_size"].number_value == 8
    assert given["sequence.token"].string_value == "order"


def test_a_finished_run_has_its_test_customers_in_the_projector(run: Run, tested: pd.DataFrame) -> None:
    (metadata,) = run.path.glob("**/metadata.tsv")
    (vectors,) = run.path.glob("**/tensors.tsv")
    table, vector_ND = pd.read_csv(metadata, sep="\t"), pd.read_csv(vectors, sep="\t", header=None).to_numpy()
    assert table["customer_id"].tolist() == tested["customer_id"].tolist()
    np.testing.assert_allclose(table["score"], tested["score"], rtol=1e-6)
    cutoffs = tested["cutoff"].unique()
    assert len(cutoffs) > 1
    for cutoff in cutoffs:
        rows, found = (tested["cutoff"] == cutoff).to_numpy(), run.embed(cutoff=cutoff).set_index("customer_id")
        expected = found.loc[tested["customer_id"][rows]].filter(like="z")
        np.testing.assert_allclose(vector_ND[rows], expected, atol=1e-5)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
def test_the_projector_has_a_line_a_vector_whatever_the_ids(tmp_path_factory: pytest.TempPathFactory, ids: list[str]):
    for columns in (["item_id"], ["item\tid\n", "count"]):
        folder = tmp_path_factory.mktemp("projector")
        writer = SummaryWriter(folder)
        metadata = pd.DataFrame(dict.fromkeys(columns, ids))
        write_projector(writer, np.ones((len(ids), 2)), metadata, tag="items")
        writer.close()
        (file,) = folder.glob("**/metadata.tsv")
        lines = file.read_bytes().decode().removesuffix("\n").splitlines()
        assert len(lines) == len(ids) + (len(columns) > 1)
        assert {line.count("\t") for line in lines} == {len(columns) - 1}


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True}) == {
        "a.b": 1,
        "a.c": "[1, 2]",
        "d": "None",
        "e": True,
    }
