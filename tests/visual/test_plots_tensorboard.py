"""Figures show the numbers that they are given, on any input; TensorBoard files hold what they should."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from clm_dl.tasks.survival.summary import CurveScores
from clm_dl.tasks.value.summary import ValueScores
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from clm_dl.run import Run
from clm_dl.tasks.churn import figures as plots
from clm_dl.tasks.survival.figures import by_horizon_figure, curves_figure, customers_figure, horizon_reliability_figure
from clm_dl.tasks.value.figures import coverage_figure, decile_figure, spend_gain_figure
from clm_dl.tasks.value.metrics import Forecast
from clm_dl.visual.tensorboard import (
    GradientNorm,
    ModelGraph,
    Throughput,
    WeightHistograms,
    flatten,
    write_final,
    write_graph,
)


def read(folder) -> EventAccumulator:
    return EventAccumulator(
        str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    ).Reload()


def test_figures_draw_usual_and_degenerate_input():
    rng = np.random.default_rng(0)
    for label in (rng.integers(0, 2, 50).astype(float), np.zeros(5), np.zeros(0)):
        scores = {f"m{i}": rng.random(len(label)) for i in range(7)}
        for draw in (plots.reliability_figure, plots.precision_recall_figure, plots.roc_figure, plots.gain_figure):
            draw(label, scores).canvas.draw()
        plots.histogram_figure(label, scores["m0"], "m0").canvas.draw()
        plots.profit_figure(label, scores, benefit=10, cost=1).canvas.draw()


LABEL, SCORE = np.array([1.0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])


def lines(figure: Figure) -> dict[str, list[list[float]]]:
    """Name -> points of every line that the legend names; what has no name counts on from 0."""
    found, number = {}, 0
    for line in figure.axes[0].lines:
        name = line.get_label()
        if name.startswith("_"):
            name, number = str(number), number + 1
        found[name] = np.round(line.get_xydata(), 9).tolist()
    return found


def bars(figure: Figure) -> dict[str, list[float]]:
    """Name -> heights of the bars of each series."""
    axes = figure.axes[0]
    heights = [[bar.get_height() for bar in series] for series in axes.containers]
    return dict(zip(axes.get_legend_handles_labels()[1], heights, strict=True))


def test_roc_figure_draws_the_curve():
    found = lines(plots.roc_figure(LABEL, {"m": SCORE}))
    assert found == {"m": [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]], "0": [[0, 0], [1, 1]]}


def test_reliability_figure_draws_the_rate_against_the_mean_score():
    found = lines(plots.reliability_figure(LABEL, {"m": SCORE, "sure": np.array([1.0, 0, 0.6, 0])}, bins=2))
    assert found["m"] == [[0.4, 0.5], [0.85, 0.5]]
    assert found["sure"] == [[0, 0], [0.8, 1]]
    assert found["0"] == [[0, 0], [1, 1]]


def test_precision_recall_figure_draws_the_curve_and_the_prevalence():
    found = lines(plots.precision_recall_figure(np.array([1.0, 0, 0, 0]), {"m": SCORE, "late": SCORE[[1, 0, 2, 3]]}))
    third, fourth = round(1 / 3, 9), 0.25
    assert found["m"] == [[1, 1], [1, 0.5], [1, third], [1, fourth]]
    assert found["late"] == [[0, 0], [1, 0.5], [1, third], [1, fourth]]
    assert found["0"] == [[0, fourth], [1, fourth]]


def test_gain_figure_draws_the_curve_between_random_and_perfect():
    found = lines(plots.gain_figure(np.array([1.0, 0, 0, 0]), {"m": SCORE[[1, 0, 2, 3]]}))
    assert found["m"] == [[0, 0], [0.25, 0], [0.5, 1], [0.75, 1], [1, 1]]
    assert found["perfect"] == [[0, 0], [0.25, 1], [1, 1]]
    assert found["random"] == [[0, 0], [1, 1]]


def test_histogram_shows_each_class_as_shares_of_its_own():
    figure = plots.histogram_figure(np.array([1.0, 0, 1, 0, 1]), np.array([1.0, 0, 1, 0.5, 0]), "m")
    heights = bars(figure)
    assert figure.axes[0].get_title(loc="left") == "Scores of m"
    assert [heights["negative"][place] for place in (0, 20, 39)] == [0.5, 0.5, 0]
    assert [heights["positive"][place] for place in (0, 20, 39)] == pytest.approx([1 / 3, 0, 2 / 3])
    assert [sum(part) for part in heights.values()] == pytest.approx([1, 1])


def test_profit_figure_draws_the_curve_and_marks_its_maximum():
    found = lines(plots.profit_figure(LABEL, {"m": SCORE}, benefit=10, cost=1))
    for share, profit in {0: 0, 0.25: 2.25, 0.5: 2, 0.75: 4.25, 1: 4}.items():  # (10 · positives − contacts) / 4
        assert [share, profit] in found["m"]
    assert found["0"] == [[0.75, 4.25]]


def test_interval_figure_shows_every_model_with_an_interval_the_first_on_top():
    known = {"network": (0.8, 0.7, 0.9), "logistic": (0.6, 0.5, 0.75)}
    found = {name: {"auroc": dict(zip(("value", "low", "high"), ends, strict=True))} for name, ends in known.items()}
    found["alone"] = {"auroc": {"value": 0.5, "low": None, "high": None}}
    figure = plots.interval_figure(found, "auroc", "AUC")
    drawn = list(lines(figure).values())
    assert drawn == [[[0.7, 0], [0.9, 0]], [[0.8, 0]], [[0.5, 1], [0.75, 1]], [[0.6, 1]]]
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["network", "logistic"]
    bottom, top = axes.get_ylim()
    assert bottom > top


# --- survival and value


def test_survival_figures_show_curves_and_calibration_by_horizon():
    days = [0, 28]
    label = np.array([[1.0, 1], [1, 0], [0, 0], [1, np.nan]])
    active = np.array([[0.9, 0.8], [0.7, 0.4], [0.3, 0.1], [0.8, 0.6]])
    everyone = (np.arange(4), pd.DatetimeIndex(["2021-01-01"] * 4), np.ones(4, bool))
    table = CurveScores(*everyone, label, {"network": active, "flat": np.full((4, 2), 0.5)}, {})
    found = lines(curves_figure(table, days, ["network", "flat"]))
    mean = np.round(active[:3, 1].mean(), 9)  # of those followed so far
    assert found["network"] == [[0, 0.675], [28, mean]]
    assert found["flat"] == [[0, 0.5], [28, 0.5]]
    assert found["observed"] == [[0, 0.75], [28, np.round(1 / 3, 9)]]
    found = lines(horizon_reliability_figure(table, days, "network"))
    assert set(found) == {"0 days", "28 days", "0"}
    assert found["0 days"][0] == [0.3, 0]
    assert found["0 days"][-1] == [0.9, 1]
    assert found["28 days"][-1] == [0.8, 1]
    overall = {"network": {f"ece@{day}": {"value": day / 100, "low": day / 200, "high": day / 50} for day in days}}
    figure = by_horizon_figure(overall, days, ["network"], "ece", "ECE")
    assert lines(figure)["network"] == [[0, 0], [28, 0.28]]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} >= {(28.0, 0.14), (28.0, 0.56)}
    drawn = customers_figure(table, days, "network").axes[0].lines
    assert len(drawn) == 5
    assert drawn[0].get_ydata().tolist() == [0.3, 0.1]  # the shortest lifetime expected comes first


def test_value_figures_show_deciles_gain_and_coverage():
    num = 20
    spend, score = np.arange(num, dtype=float), np.arange(num, dtype=float) + 1
    low, high = score - 5, np.where(score > 10, score - 2, score + 5)  # who spends most spends more than that
    everyone = (np.arange(num), pd.DatetimeIndex(["2021-01-01"] * num), np.ones(num, bool))
    forecasts = {"network": Forecast(score, low=low, high=high), "wrong": Forecast(-score)}
    table = ValueScores(*everyone, spend, spend, forecasts, {}, 0)
    heights = bars(decile_figure(table, "network"))
    assert heights["expected"] == pytest.approx(np.arange(10) * 2 + 1.5)
    assert heights["spent"] == pytest.approx(np.arange(10) * 2 + 0.5)
    found = lines(spend_gain_figure(table, ["network", "wrong"]))
    assert found["network"] == found["perfect"]
    assert found["network"][1] == [0.05, 0.1]  # 19 of 190
    assert found["wrong"][2] == [0.1, np.round(1 / 190, 9)]
    heights = bars(coverage_figure(table, "network"))
    assert heights == {"inside": [1.0] * 5 + [0.0] * 5, "spent more": [0.0] * 5 + [1.0] * 5, "spent less": [0.0] * 10}


# --- TensorBoard


def test_final_writes_are_read_back(make_run, tmp_path):
    folder = make_run()
    metrics, scores = json.loads((folder / "metrics.json").read_text()), pd.read_parquet(folder / "scores.parquet")
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    metadata = pd.DataFrame({"customer_id": list("abcdef"), "label": [0.0, 1, np.nan, 0, 1, 0]})
    with SummaryWriter(str(tmp_path / "tb")) as writer:
        write_final(
            writer, scores, metrics, {"seed": 0, "encoder": {"name": "lstm", "sizes": [1, 2]}}, vectors, metadata
        )
    events = read(tmp_path / "tb")
    (scalar,) = events.Scalars("test/auroc")
    assert abs(scalar.value - metrics["split"]["test"]["overall"]["network"]["auroc"]["value"]) < 1e-6
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


SHOWN = ("auroc", "auprc", "log_loss", "brier", "ece", "lift@10")
TRAINING = {"epoch", "lr-AdamW/pg1", "lr-AdamW/pg2", "val/log_loss", "val/auroc"}
TRAINING |= {f"train/{name}" for name in ("loss", "gradient_norm", "events_per_second", "padding_ratio")}


@pytest.fixture(scope="module")
def events(run: Run) -> EventAccumulator:
    return read(run.path)


@pytest.fixture(scope="module")
def tested(run: Run) -> pd.DataFrame:
    """What the network says of the test snapshots."""
    return run.scores[(run.scores["split"] == "test") & (run.scores["model"] == "network")]


def test_a_finished_run_has_every_tag_with_the_values_of_its_metrics(run: Run, events: EventAccumulator):
    tags, overall = events.Tags(), run.metrics["split"]["test"]["overall"]
    parts = {"test": "network", "test_recency": "recency", "test_logistic": "logistic"}
    final = {f"{part}/{metric}": overall[name][metric]["value"] for part, name in parts.items() for metric in SHOWN}
    assert set(tags["scalars"]) == set(final) | TRAINING
    for tag, value in final.items():
        assert [item.value for item in events.Scalars(tag)] == [pytest.approx(value, rel=1e-6)], tag
    assert set(tags["images"]) == {"test/reliability", "test/precision_recall", "test/gain", "test/score_histogram"}
    assert set(tags["histograms"]) == {f"weight/{name}" for name, _ in run.task.named_parameters()}
    assert tags["graph"]
    epochs = run.config["trainer"]["max_epochs"]
    assert all(len(events.Scalars(tag)) == epochs for tag in ("val/log_loss", "val/auroc", "train/padding_ratio"))
    assert all(len(events.Histograms(tag)) == epochs for tag in tags["histograms"])


def test_a_finished_run_has_a_curve_of_every_model_and_what_it_was_made_with(
    run: Run, events: EventAccumulator, tested: pd.DataFrame
):
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


def test_a_finished_run_has_its_test_customers_in_the_projector(run: Run, tested: pd.DataFrame):
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


def test_flatten():
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True}) == {
        "a.b": 1,
        "a.c": "[1, 2]",
        "d": "None",
        "e": True,
    }


@dataclasses.dataclass
class Batch:
    x_BTD: torch.Tensor
    mask_BT: torch.Tensor
    length_B: torch.Tensor
    extra: dict

    @property
    def num_events(self) -> int:
        return int(self.length_B.sum())


def batches(rows: list[torch.Tensor]) -> Batch:
    x_BTD = torch.stack(rows)
    mask_BT = torch.arange(4) < 3
    return Batch(
        x_BTD, mask_BT.expand(len(rows), 4), torch.full((len(rows),), 3), {"bag": (x_BTD.sum(-1), torch.arange(2))}
    )


class Small(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.layer((batch.x_BTD * batch.mask_BT[..., None]).mean(1)) + batch.extra["bag"][0].mean()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        return self(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")  # Lightning on torch 2.13
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_callbacks_log_gradient_norm_weights_and_throughput(tmp_path):
    loader = DataLoader(torch.randn(8, 4, 2), batch_size=4, collate_fn=batches)
    logger = TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=logger,
        log_every_n_steps=1,
        callbacks=[GradientNorm(), WeightHistograms(), ModelGraph(), Throughput()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Small(), loader)
    events = read(tmp_path)
    assert len(events.Scalars("train/gradient_norm")) == 4
    assert all(item.value > 0 for item in events.Scalars("train/gradient_norm"))
    assert [item.value for item in events.Scalars("train/padding_ratio")] == [np.float32(4 / 3)] * 2
    assert all(item.value > 0 for item in events.Scalars("train/events_per_second"))
    assert b"layer" in events.Graph().SerializeToString()
    assert {"weight/layer.weight", "weight/layer.bias"} <= set(events.Tags()["histograms"])


def test_a_network_that_cannot_be_traced_is_left_out(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, batch):
            return [str(batch)]

    with SummaryWriter(str(tmp_path)) as writer:
        assert not write_graph(writer, Odd(), batches([torch.randn(4, 2)] * 2))
