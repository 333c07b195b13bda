"""Figures draw on any input; TensorBoard files hold what they should when read back."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from clm_dl.tasks.churn import figures as plots
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


def test_roc_figure_draws_the_curve():
    axes = plots.roc_figure(np.array([1.0, 0, 1, 0]), {"m": np.array([0.9, 0.8, 0.7, 0.1])}).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]


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
