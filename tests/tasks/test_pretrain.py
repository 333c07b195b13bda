"""PretrainTask: both objectives learn, see no future, begin at the floor; a finished run is an ordinary run, and
resumes bit for bit.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from clm_dl.experiment.pretrain_fold import PretrainFold
from clm_dl.tasks.pretrain.module import PretrainTask

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.evaluate import evaluate_snapshots
from clm_dl.experiment.inference import scoring_datamodule
from clm_dl.experiment.settings import check
from clm_dl.experiment.timing import Clock
from clm_dl.nn import ENCODERS
from clm_dl.run import Run, load_run
from clm_dl.visual.card import model_card
from clm_dl.visual.html import render_report

PRETRAIN = ("task=pretrain", "task.held_out=0.3", "task.slices.max_tokens=20")
PRETRAIN_QUICK = (*PRETRAIN, "baselines=none", "trainer.max_epochs=3", "task.optimizer.lr=0.01")


@pytest.fixture(scope="module")
def pretrained(train: Callable[..., Run]) -> Run:
    return train(*PRETRAIN_QUICK)


@pytest.fixture(scope="module")
def datamodule(pretrained: Run) -> SequenceInputs:
    store = open_store(pretrained.config["data"], pretrained.config["paths"])
    fold = PretrainFold(pretrained.config, store, 0, pretrained.path, Clock(), network=False)
    return scoring_datamodule(pretrained, store, fold.snapshots)


def build(datamodule: SequenceInputs, encoder: str, *overrides: str) -> PretrainTask:
    settings = plain(compose("train", [*PRETRAIN, f"encoder={encoder}", *overrides]))
    torch.manual_seed(0)
    return PretrainTask(schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"])


@pytest.mark.parametrize("objective", ["next_event", "coles"])
@pytest.mark.parametrize("encoder", ["lstm", "transformer", "conv"])
def test_objectives_learn_a_batch(datamodule: SequenceInputs, encoder: str, objective: str) -> None:
    batch = next(iter(datamodule.loader(np.arange(16))))
    task = build(datamodule, encoder, f"task.objective={objective}", "task.dropout=0.0", "encoder.dropout=0.0")
    task.fit_floor([batch])
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.batch_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if objective == "next_event":
        assert losses[0] == pytest.approx(1.0, abs=0.1)  # what one says of everyone
    assert losses[-1] < 0.75 * losses[0]


MASKED = ("task.objective=masked_event", "encoder=transformer", "encoder.causal=false")


def test_hidden_tokens_are_learnt_from_both_sides_and_not_from_themselves(datamodule: SequenceInputs) -> None:
    batch = next(iter(datamodule.loader(np.arange(16))))
    batch.numeric_BTF[:] = batch.numeric_BTF[:, :1]  # a customer's neighbours give a hidden token away
    settings = plain(compose("train", [*PRETRAIN, *MASKED, "task.dropout=0.0", "encoder.dropout=0.0"]))
    torch.manual_seed(0)
    task = PretrainTask(schema=datamodule.schema, encoder=settings["encoder"], task=settings["task"])
    task.fit_floor([batch])
    assert task.fields == tuple(name for name in task.head.names if name != "time_gap")
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = task.batch_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.0, abs=0.2)
    assert np.mean(losses[-20:]) < 0.85 * losses[0]
    assert task.hidden_D.grad is not None
    task.eval()
    inputs: list[torch.Tensor] = []
    task.encoder.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach()))
    _, counts = task.losses(batch)
    hidden_BT = (inputs[0] == task.hidden_D).all(dim=-1)
    assert hidden_BT.sum() == pytest.approx(0.2 * int(batch.mask_BT.sum()), rel=0.3)
    torch.testing.assert_close(inputs[0][~hidden_BT], task.embedding(batch)[~hidden_BT])
    hidden_BT[:, 0] = False  # the first token is hidden as well, and no target
    assert counts[:, task.fields.index("num_lines")].sum() == hidden_BT.sum()


def test_masked_run_starts_another(train: Callable[..., Run]) -> None:
    run = train(*PRETRAIN_QUICK, *MASKED)
    assert run.metrics["fields"] == ["dept", "amount", "num_lines"]
    assert run.metrics["split"]["test"]["overall"]["marginal"]["loss"]["value"] == pytest.approx(1.0)
    assert "told from what stands on both sides" in (run.path / "report.html").read_text()
    tuned = train(f"init={run.path}", "encoder=transformer", "encoder.causal=false", "baselines=none")
    assert tuned.status["state"] == "finished"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_later_token_changes_no_earlier_prediction(datamodule: SequenceInputs, encoder: str) -> None:
    batch = next(iter(datamodule.loader(np.arange(8))))
    task = build(datamodule, encoder).eval()
    last = int(batch.length_B.min()) // 2
    h_BTD = task.states(batch)
    batch.numeric_BTF[:, last:] += 5.0
    batch.gap_BT[:, last:] += 1.0
    changed_BTD = task.states(batch)
    assert h_BTD[:, :last].equal(changed_BTD[:, :last])
    assert not h_BTD[:, last].equal(changed_BTD[:, last])


def test_a_run_is_an_ordinary_run(pretrained: Run) -> None:
    metrics = pretrained.metrics
    overall = metrics["split"]["test"]["overall"]
    assert metrics["fields"] == ["dept", "time_gap", "amount", "num_lines"]
    for name in metrics["fields"]:
        network, floor = (overall[model][f"loss@{name}"]["value"] for model in ("network", "marginal"))
        assert 0 <= network < 1.2 * floor + 1e-3
    assert overall["marginal"]["loss"]["value"] == pytest.approx(1.0)
    assert overall["network"]["loss"]["value"] < 1.0
    difference = metrics["difference"]["test"]["network - marginal"]["loss"]
    assert difference["value"] == pytest.approx(overall["network"]["loss"]["value"] - 1.0)
    assert metrics["data"]["snapshots"]["train"] > metrics["reference"]["test"]["customers"] > 0
    assert pretrained.status["state"] == "finished"
    for name in ("config.yaml", "vocabulary.json", "schema.json", "timing.json"):
        assert (pretrained.path / name).is_file(), name
    assert "marginal" in (pretrained.path / "model_card.md").read_text()
    report = (pretrained.path / "report.html").read_text()
    assert "time_gap" in report
    assert "no label is used" in report
    assert {"val/loss", "val/loss_dept", "test/loss", "test_marginal/loss"} <= set(pretrained.history["name"])
    vectors = pretrained.embed()
    assert vectors.filter(like="z").shape[1] == 8
    with pytest.raises(ValueError, match="was pretrained and answers no question"):
        pretrained.predict()


def test_evaluate_finds_the_same_losses(pretrained: Run) -> None:
    store = open_store(pretrained.config["data"], pretrained.config["paths"])
    scores, summary = evaluate_snapshots(pretrained, store, 50)
    assert scores["score"].sum() == pytest.approx(pretrained.scores["score"].sum())
    again = summary(scores)["split"]["test"]["overall"]["network"]["loss"]["value"]
    assert again == pytest.approx(pretrained.metrics["split"]["test"]["overall"]["network"]["loss"]["value"])


def test_validation_is_of_all_batches_at_once(
    datamodule: SequenceInputs, validate: Callable[..., dict[str, float]]
) -> None:
    task, index = build(datamodule, "gru"), np.arange(12)
    whole, parts = [datamodule.dataset[index]], [datamodule.dataset[part] for part in (index[:10], index[10:])]
    task.fit_floor(whole)
    found = validate(task, whole)
    assert found["val/loss"] == pytest.approx(1.0, abs=0.1)
    assert validate(task, parts) == pytest.approx(found, rel=1e-4)


def test_losses_by_field_are_means_over_predictions(pretrained: Run) -> None:
    scores = pretrained.scores
    rows = scores[(scores["split"] == "test") & (scores["model"] == "network") & (scores["field"] == "time_gap")]
    mean = np.average(rows["score"].fillna(0), weights=rows["predictions"])
    assert pretrained.metrics["split"]["test"]["overall"]["network"]["loss@time_gap"]["value"] == pytest.approx(mean)
    assert pd.to_datetime(scores["cutoff"]).nunique() == 1


def test_coles_run_and_reports_of_several(train: Callable[..., Run], pretrained: Run) -> None:
    run = train(*PRETRAIN_QUICK, "task.objective=coles")
    assert run.metrics["fields"] == ["contrast"]
    assert run.metrics["split"]["test"]["overall"]["network"]["loss"]["value"] < 1.0
    assert run.metrics["split"]["test"]["overall"]["marginal"]["loss@contrast"]["value"] == pytest.approx(
        0.125, abs=1e-3
    )
    assert run.metrics["fingerprint"] != pretrained.metrics["fingerprint"]
    assert "contrast" in model_card(run.path)
    assert "other snapshots" in render_report([pretrained.path, run.path])


@pytest.mark.parametrize("objective", ["next_event", "masked_event", "coles"])
def test_resumed_pretraining_equals_the_uninterrupted_one(
    train: Callable[..., Run], tmp_path: Path, objective: str
) -> None:
    both_sides = MASKED[1:] if objective == "masked_event" else ()
    options = (*PRETRAIN_QUICK, f"task.objective={objective}", "task.schedule.name=constant", *both_sides)
    straight = train(*options)
    step = PretrainTask.training_step

    def stops(task: PretrainTask, batch: object, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == 1 and batch_idx == 1:
            raise RuntimeError("power cut")
        return step(task, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainTask, "training_step", stops)
        with pytest.raises(RuntimeError, match="power cut"):
            train(*options, f"paths.output_dir={tmp_path / 'run'}")
    resumed = train(
        *options, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}", f"paths.output_dir={tmp_path / 'run'}"
    )
    assert resumed.metrics == straight.metrics
    assert resumed.scores.equals(straight.scores)
    for name, tensor in straight.checkpoint["state_dict"].items():
        assert tensor.equal(load_run(resumed.path).checkpoint["state_dict"][name]), name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("task.objective=masked",), "task.objective must be one of next_event, masked_event, coles, got 'masked'"),
        (("task.objective=masked_event",), "use encoder=transformer encoder.causal=false"),
        (("encoder=bert4rec",), "needs a causal encoder"),
        (("task.pooling=attention",), "trains no pooling"),
        (("task.objective=coles", "task.slices.num=1"), "task.slices needs num ≥ 2"),
        (("encoder=none",), "task=pretrain trains an encoder, got encoder=none"),
        (("snapshots.folds=2",), "task=pretrain has a single fold"),
        (("encoder.frozen=true",), "encoder.frozen is for tasks that answer per snapshot"),
        (("init=somewhere",), "init is for tasks that answer per snapshot"),
        (("objective=auroc",), "objective must be one of loss, got 'auroc'"),
    ],
)
def test_wrong_settings_are_refused(datamodule: SequenceInputs, overrides: tuple[str, ...], message: str) -> None:
    settings = plain(compose("train", [*PRETRAIN, *overrides]))
    with pytest.raises(ValueError, match=message):
        PretrainTask(schema=datamodule.schema, encoder=settings["encoder"], task=check(settings)["task"])
