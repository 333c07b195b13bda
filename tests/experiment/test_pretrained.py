"""init=RUN: vocabulary, scales and weights are the pretrained run's; frozen stays frozen; what does not fit is refused
in one sentence.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.config import compose, plain
from clm_dl.data.open import open_store
from clm_dl.experiment.pretrained import Start
from clm_dl.experiment.settings import read_plan
from clm_dl.run import Run, load_run

BIN = Path(sys.executable).parent
PRETRAIN = ("task=pretrain", "task.held_out=0.3", "baselines=none", "task.optimizer.lr=0.01")
PARTS = ("embedding.", "encoder.", "pooling.")


@pytest.fixture(scope="module")
def pretrained(train: Callable[..., Run]) -> Run:
    return train(*PRETRAIN)


def parts(run: Run) -> dict[str, torch.Tensor]:
    return {name: value for name, value in run.checkpoint["state_dict"].items() if name.startswith(PARTS)}


@pytest.fixture(scope="module")
def frozen(train: Callable[..., Run], pretrained: Run) -> Run:
    names = "baselines=[recency,embedding_logistic,embedding_lightgbm,embedding_rfm_lightgbm]"
    return train(f"init={pretrained.path}", "encoder.frozen=true", names)


@pytest.mark.slow
def test_frozen_weights_are_the_pretrained_ones_to_the_last_bit(
    pretrained: Run, frozen: Run, train: Callable[..., Run]
) -> None:
    theirs, mine = parts(pretrained), parts(frozen)
    assert set(theirs) == set(mine)
    for name, tensor in theirs.items():
        assert tensor.equal(mine[name]), name
    assert not any(p.requires_grad for part in (frozen.task.embedding, frozen.task.encoder) for p in part.parameters())  # type: ignore[union-attr]
    tuned = parts(train(f"init={pretrained.path}", "baselines=none", "trainer.max_epochs=1"))
    assert any(not tensor.equal(tuned[name]) for name, tensor in theirs.items())


@pytest.mark.slow
def test_a_random_encoder_can_be_frozen_too(train: Callable[..., Run]) -> None:
    one, two = (train("encoder.frozen=true", "baselines=none", f"trainer.max_epochs={epochs}") for epochs in (1, 2))
    assert all(tensor.equal(parts(two)[name]) for name, tensor in parts(one).items())
    heads = [run.checkpoint["state_dict"]["head.output.weight"] for run in (one, two)]
    assert not heads[0].equal(heads[1])


def test_vocabulary_and_scales_are_applied_and_a_head_s_are_fitted(pretrained: Run, frozen: Run, run: Run) -> None:
    assert frozen.vocabulary == pretrained.vocabulary
    for key in ("token", "categorical", "numeric", "time"):
        assert frozen.schema[key] == pretrained.schema[key]
        assert key in ("token", "categorical") or frozen.schema[key] != run.schema[key]  # it would have fitted others
    for key in ("head", "known", "static"):
        assert frozen.schema[key] == run.schema[key]
    assert "recency" in frozen.schema["known"]
    assert pretrained.schema["known"] == {}


def test_baselines_see_the_vectors_of_the_pretrained_network(pretrained: Run, frozen: Run) -> None:
    models = set(frozen.scores["model"])
    assert models == {"network", "recency", "embedding_logistic", "embedding_lightgbm", "embedding_rfm_lightgbm"}
    overall = frozen.metrics["split"]["test"]["overall"]
    assert overall["embedding_logistic"]["auroc"]["value"] > 0.6
    store = open_store(frozen.config["data"], frozen.config["paths"])
    cases = frozen.trained.task.cases(store)
    table, snapshots = Start(pretrained.trained).vectors(cases), cases.snapshots
    assert len(table) == len(snapshots)
    place = int(np.flatnonzero(snapshots.split == "test")[3])
    cutoff = pd.Timestamp(int(snapshots.cutoff[place]), unit="us")
    again = pretrained.embed(cutoff=cutoff.isoformat())
    row = again[again["customer_id"] == store.customer_ids[snapshots.customer[place]]].filter(like="z").to_numpy()[0]
    np.testing.assert_allclose(
        table.filter(like="embedding_").iloc[place].to_numpy(np.float32), row.astype(np.float32), atol=1e-5
    )
    assert table["recency"].iloc[place] == pytest.approx(
        (snapshots.cutoff[place] - store.time[snapshots.stop[place] - 1]) / 86400e6, rel=1e-5
    )


@pytest.mark.slow
def test_a_run_is_whole_without_the_run_it_started_from(
    train: Callable[..., Run], pretrained: Run, shop_csv: Path, call: Callable[..., str], tmp_path: Path
) -> None:
    origin = Path(shutil.copytree(pretrained.path, tmp_path / "origin"))
    started = train(f"init={origin}", "baselines=[recency]", f"paths.output_dir={tmp_path / 'started'}")
    expected = started.predict(str(shop_csv), cutoff="2021-08-01")
    shutil.rmtree(origin)
    call(
        BIN / "clm-predict",
        "run=started",
        f"input={shop_csv}",
        "cutoff=2021-08-01",
        "output=again.parquet",
        cwd=tmp_path,
    )
    again = pd.read_parquet(tmp_path / "again.parquet")
    np.testing.assert_array_equal(again["score"].to_numpy(), expected["score"].to_numpy())
    call(BIN / "clm-evaluate", "run=started", "bootstrap=20", cwd=tmp_path)
    assert (tmp_path / "started" / "evaluation.json").is_file()


@pytest.mark.slow
def test_a_resumed_start_equals_the_uninterrupted_one(
    train: Callable[..., Run], pretrained: Run, tmp_path: Path
) -> None:
    options = (
        f"init={pretrained.path}",
        "encoder.frozen=true",
        "task.schedule.name=constant",
        "task.schedule.warmup=0.0",
        "baselines=none",
    )
    straight = train(*options)
    train(*options, "trainer.max_epochs=1", f"paths.output_dir={tmp_path / 'run'}")
    resumed = train(
        *options, f"ckpt={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}", f"paths.output_dir={tmp_path / 'run'}"
    )
    assert resumed.metrics == straight.metrics
    assert all(
        tensor.equal(resumed.checkpoint["state_dict"][name])
        for name, tensor in straight.checkpoint["state_dict"].items()
    )


def test_all_baselines_leave_out_those_that_need_init() -> None:
    plan = read_plan(plain(compose("train", ["encoder=none", "init=somewhere", "baselines=[embedding_logistic]"])))
    assert plan.init == "somewhere"
    with pytest.raises(
        ValueError,
        match=r"no baseline 'embedding_logistic' of task churn: embedding_logistic sees the vectors of init=RUN",
    ):
        read_plan(plain(compose("train", ["baselines=[embedding_logistic]"])))
    every = read_plan(plain(compose("train", ["baselines=all"]))).settings.specs
    assert every
    assert not any("embedding" in spec.sees for spec in every)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("snapshots.train=[2021-03-01]",),
            "saw events up to .* but the last training cutoff of this run is 2021-03-01",
        ),
        (("encoder=gru",), r"has the encoder .* choose the same"),
        (("encoder.hidden_size=4",), r"has the encoder .* choose the same"),
        (("task.embedding.numeric_size=4",), "has an embedding of other sizes"),
        (("data.categorical=[]",), "has the categorical fields dept, this one \\(none\\)"),
        (("sequence.token=line",), "reads order tokens, got sequence.token=line"),
        (("snapshots.val_customers=0.2",), "kept snapshots.val_customers=0 out of training, this run has 0.2"),
    ],
)
def test_what_does_not_fit_is_refused(
    train: Callable[..., Run], pretrained: Run, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        train(f"init={pretrained.path}", f"paths.output_dir={tmp_path / 'run'}", *overrides)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_only_a_finished_pretraining_is_started_from(train: Callable[..., Run], run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"init must be a finished run of task=pretrain, got .*, a run of task=churn that is finished"
    ):
        train(f"init={run.path}")
    with pytest.raises(FileNotFoundError, match="is no run directory"):
        train(f"init={tmp_path / 'nowhere'}")


@pytest.mark.slow
def test_the_command_refuses_with_one_sentence(pretrained: Run, shop_csv: Path, tmp_path: Path) -> None:
    log = [
        f"data.path={shop_csv}",
        "data.roles.customer=cust",
        "data.roles.time=ts",
        "data.roles.amount=spend",
        "data.categorical=[dept]",
    ]
    words = [
        "experiment=churn_events",
        *log,
        f"init={pretrained.path}",
        "encoder=gru",
        f"paths.output_dir={tmp_path / 'run'}",
    ]
    words.append(f"paths.data_dir={pretrained.config['paths']['data_dir']}")
    done = subprocess.run(
        [str(BIN / "clm-train"), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=tmp_path
    )
    assert done.returncode == 2
    (sentence,) = [line for line in done.stderr.splitlines() if line]
    assert sentence.startswith("error: init=")
    assert not (tmp_path / "run").exists()
    assert load_run(pretrained.path).status["state"] == "finished"
