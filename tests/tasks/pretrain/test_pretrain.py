"""Pretraining: every objective learns, sees no future, begins at the floor; a finished run is an ordinary run, and
resumes bit for bit.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.config import compose, plain
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.store.store import EventStore
from clm_dl.experiment.rescoring import rescored
from clm_dl.experiment.run_files import read_results
from clm_dl.experiment.settings import read_plan
from clm_dl.nn import ENCODERS
from clm_dl.run import Run, load_run
from clm_dl.tasks.module import SequenceTask
from clm_dl.tasks.pretrain.network import PretrainNetwork
from clm_dl.visual.html import render_report

PRETRAIN = ("task=pretrain", "task.held_out=0.3", "task.slices.max_tokens=20")
PRETRAIN_QUICK = (*PRETRAIN, "baselines=none", "trainer.max_epochs=3", "task.optimizer.lr=0.01")
MASKED = ("task.objective=masked_event", "encoder=transformer", "encoder.causal=false")
STILL = ("experiment=churn_events", *PRETRAIN, "task.dropout=0.0", "encoder.dropout=0.0")
Build = Callable[..., PretrainNetwork]


@pytest.fixture(scope="module")
def pretrained(train: Callable[..., Run]) -> Run:
    return train(*PRETRAIN_QUICK)


@pytest.fixture(scope="module")
def inputs(pretrained: Run, shop_store: EventStore) -> SequenceInputs:
    task, known = pretrained.trained.task, {"vocabulary": pretrained.vocabulary, "schema": pretrained.schema}
    return task.inputs(task.cases(shop_store), **known)


@pytest.mark.parametrize("objective", ["next_event", "coles"])
@pytest.mark.parametrize("encoder", ["lstm", "transformer", "conv"])
def test_objectives_learn_a_batch(
    inputs: SequenceInputs, build: Build, learn: Callable[..., list[float]], encoder: str, objective: str
) -> None:
    batch = next(iter(inputs.loader(np.arange(16))))
    network = build(inputs.schema, *STILL, f"encoder={encoder}", f"task.objective={objective}")
    network.fit_floor([batch])
    losses = learn(network, batch, steps=60, lr=1e-2)
    if objective == "next_event":
        assert losses[0] == pytest.approx(1.0, abs=0.1)  # what one says of everyone
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.slow
def test_hidden_tokens_are_learnt_from_both_sides_and_not_from_themselves(
    inputs: SequenceInputs, build: Build, learn: Callable[..., list[float]]
) -> None:
    batch = next(iter(inputs.loader(np.arange(16))))
    batch.numeric_BTF[:] = batch.numeric_BTF[:, :1]  # a customer's neighbours give a hidden token away
    network = build(inputs.schema, *STILL, *MASKED)
    network.fit_floor([batch])
    assert network.fields == tuple(name for name in network.head.names if name != "time_gap")
    losses = learn(network, batch, steps=150, lr=1e-2)
    assert losses[0] == pytest.approx(1.0, abs=0.2)
    assert np.mean(losses[-20:]) < 0.85 * losses[0]
    assert network.hidden_D.grad is not None
    network.eval()
    given: list[torch.Tensor] = []
    network.encoder.register_forward_pre_hook(lambda module, parts: given.append(parts[0].detach()))
    _, counts = network.losses(batch)
    hidden_BT = (given[0] == network.hidden_D).all(dim=-1)
    assert hidden_BT.sum() == pytest.approx(0.2 * int(batch.mask_BT.sum()), rel=0.3)
    torch.testing.assert_close(given[0][~hidden_BT], network.embedding(batch)[~hidden_BT])
    hidden_BT[:, 0] = False  # the first token is hidden as well, and no target
    assert counts[:, network.fields.index("num_lines")].sum() == hidden_BT.sum()


@pytest.mark.slow
def test_masked_run_starts_another(train: Callable[..., Run]) -> None:
    run = train(*PRETRAIN_QUICK, *MASKED)
    assert run.metrics["fields"] == ["dept", "amount", "num_lines"]
    assert run.metrics["split"]["test"]["overall"]["marginal"]["loss"]["value"] == pytest.approx(1.0)
    assert "told from what stands on both sides" in (run.path / "report.html").read_text()
    tuned = train(f"init={run.path}", "encoder=transformer", "encoder.causal=false", "baselines=none")
    assert tuned.status["state"] == "finished"


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_later_token_changes_no_earlier_prediction(inputs: SequenceInputs, build: Build, encoder: str) -> None:
    batch = next(iter(inputs.loader(np.arange(8))))
    network = build(inputs.schema, *STILL, f"encoder={encoder}").eval()
    last = int(batch.length_B.min()) // 2
    h_BTD = network.states(batch)
    batch.numeric_BTF[:, last:] += 5.0
    batch.gap_BT[:, last:] += 1.0
    changed_BTD = network.states(batch)
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


def test_evaluate_finds_the_same_losses(pretrained: Run, shop_store: EventStore) -> None:
    scores, summary = rescored(pretrained.trained, shop_store, resamples=50)
    assert scores["score"].sum() == pytest.approx(pretrained.scores["score"].sum())
    again = summary(scores)["split"]["test"]["overall"]["network"]["loss"]["value"]
    assert again == pytest.approx(pretrained.metrics["split"]["test"]["overall"]["network"]["loss"]["value"])


def test_validation_is_of_all_batches_at_once(
    inputs: SequenceInputs, build: Build, validate: Callable[..., dict[str, float]]
) -> None:
    network, index = build(inputs.schema, "experiment=churn_events", *PRETRAIN, "encoder=gru"), np.arange(12)
    whole, parts = [inputs.dataset[index]], [inputs.dataset[part] for part in (index[:10], index[10:])]
    network.fit_floor(whole)
    found = validate(network, whole)
    assert found["val/loss"] == pytest.approx(1.0, abs=0.1)
    assert validate(network, parts) == pytest.approx(found, rel=1e-4)


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
    assert "contrast" in (run.path / "model_card.md").read_text()
    assert "other snapshots" in render_report([read_results(one.path) for one in (pretrained, run)])


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["next_event", "masked_event", "coles"])
def test_resumed_pretraining_equals_the_uninterrupted_one(
    train: Callable[..., Run], tmp_path: Path, objective: str
) -> None:
    both_sides = MASKED[1:] if objective == "masked_event" else ()
    options = (*PRETRAIN_QUICK, f"task.objective={objective}", "task.schedule.name=constant", *both_sides)
    straight = train(*options)
    step = SequenceTask.training_step

    def stops(task: SequenceTask, batch: object, batch_idx: int) -> torch.Tensor:
        if task.current_epoch == 1 and batch_idx == 1:
            raise RuntimeError("power cut")
        return step(task, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceTask, "training_step", stops)
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
def test_wrong_settings_are_refused(inputs: SequenceInputs, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_plan(plain(compose("train", ["experiment=churn_events", *PRETRAIN, *overrides]))).task.network(
            inputs.schema
        )
