"""imbalance reaches the network's training, is undone in its probabilities, and is said; or it is refused."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from clm_dl.run import Run
from clm_dl.tasks.balance import balanced_odds, undersampled
from clm_dl.tasks.survival.question import SurvivalQuestion

RARE = ["snapshots.horizon_days=14", "trainer.max_epochs=4", "task.optimizer.lr=0.01", "baselines=[logistic]"]


@pytest.fixture(scope="module")
def runs(train: Callable[..., Run]) -> dict[str, Run]:
    kinds = ("none", "class_weight", "undersample", "smote")
    return {kind: train(*RARE, f"imbalance={kind}") for kind in kinds}


def raw(run: Run) -> pd.DataFrame:
    return run.scores[(run.scores["model"] == "network") & run.scores["label"].notna()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["class_weight", "undersample"])
def test_the_network_is_balanced_and_its_probabilities_are_not(runs: dict[str, Run], kind: str) -> None:
    plain, balanced = raw(runs["none"]), raw(runs[kind])
    assert np.abs(plain["score_raw"] - balanced["score_raw"]).max() > 1e-3
    rate = float(plain["label"].mean())
    assert 0.05 < rate < 0.4 or 0.6 < rate < 0.95  # else there is nothing to balance
    # what was learnt at equal classes would say a half
    assert abs(balanced["score_raw"].mean() - rate) < abs(balanced["score_raw"].mean() - 0.5)
    assert balanced["score_raw"].mean() == pytest.approx(plain["score_raw"].mean(), abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["class_weight", "undersample"])
def test_a_saved_run_knows_how_it_was_balanced(runs: dict[str, Run], kind: str) -> None:
    run = runs[kind]
    cutoff = run.scores["cutoff"].max()
    again = run.predict(cutoff=cutoff.tz_localize(None).isoformat()).set_index("customer_id")["score_raw"]
    then = raw(run)[raw(run)["cutoff"] == cutoff].set_index("customer_id")["score_raw"]
    np.testing.assert_allclose(again[then.index], then, atol=1e-6)


def test_what_cannot_be_done_with_histories_is_for_baselines_alone(runs: dict[str, Run]) -> None:
    pd.testing.assert_series_equal(raw(runs["none"])["score_raw"], raw(runs["smote"])["score_raw"])
    of = {kind: run.scores[run.scores["model"] == "logistic"]["score_raw"] for kind, run in runs.items()}
    assert not np.allclose(of["none"], of["smote"])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("class_weight", "the loss of the network weights both classes equally"),
        ("undersample", "the network trains on as many snapshots of each class"),
        ("smote", "imbalance=smote is for the baselines alone"),
    ],
)
def test_card_and_report_say_whom_it_reached(runs: dict[str, Run], kind: str, said: str) -> None:
    for name in ("model_card.md", "report.html"):
        assert said in (runs[kind].path / name).read_text()
        assert "imbalance=" not in (runs["none"].path / name).read_text().partition("<pre>")[0]
    assert "imbalance" not in runs["none"].metrics


def test_output_says_whom_it_reaches(train: Callable[..., Run]) -> None:
    lines: list[str] = []
    train("imbalance=class_weight", "baselines=none", "trainer.max_epochs=1", log=lines.append)
    assert any("imbalance=class_weight: the loss of the network weights" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imbalance=smote", "baselines=none"], "imbalance=smote is for baselines alone, and there are none"),
        (["imbalance=class_weight", "task.positive_weight=3"], "would weight them again"),
        (["imbalance=class_weight", "task=pretrain", "baselines=none"], "task=pretrain has no classes to balance"),
        (["imbalance=class_weight", "task=multitask"], "task=value has no classes to balance"),
        (["imbalance=undersample", "task=multitask", "task.weights.value=0"], "task=multitask has several"),
    ],
)
def test_what_it_cannot_do_is_refused(train: Callable[..., Run], words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(*words)


def test_a_recommender_has_no_classes(train_ranked: Callable[..., Run]) -> None:
    with pytest.raises(ValueError, match="task=next_item has no classes to balance"):
        train_ranked("imbalance=undersample")


@pytest.mark.slow
def test_survival_and_churn_of_one_network_are_balanced_together(train: Callable[..., Run]) -> None:
    words = ["task=multitask", "task.weights.value=0", "task.horizons_days=[0,14]", "baselines=[logistic]"]
    plain, balanced = train(*words), train(*words, "imbalance=class_weight")
    for task in ("churn", "survival"):
        one, other = (raw(run)[raw(run)["task"] == task] for run in (plain, balanced))
        assert np.abs(one["score_raw"] - other["score_raw"]).max() > 1e-3
        assert other["score_raw"].mean() == pytest.approx(other["label"].mean(), abs=0.15)  # what it starts from


def test_weighted_hazards_are_those_of_the_population() -> None:
    """The constant hazard that a weighted loss likes best is the rate once it is shifted back."""
    left = torch.tensor([[1.0, float("nan")]] * 2 + [[0.0, 1.0]] * 3 + [[0.0, 0.0]] * 15)
    odds = balanced_odds(left.numpy())
    assert odds == pytest.approx([18 / 2, 15 / 3])
    question = SurvivalQuestion(num_horizons=2, odds=odds.tolist(), head_size=0, dropout=0.0)
    output = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.LBFGS([output], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = question.loss(output.expand(20, 2), left)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert output.detach().numpy() == pytest.approx(np.zeros((1, 2)), abs=1e-3)  # classes count the same
    assert question.answer(output.detach())[0].tolist() == pytest.approx([0.9, 0.9 * 15 / 18], abs=1e-3)


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_undersampling_keeps_the_rare_class_and_as_many_others(rate: float) -> None:
    rng = np.random.default_rng(0)
    label = np.where(rng.random(400) < 0.1, np.nan, (rng.random(400) < rate).astype(float))
    chosen = (rng.random(400) < 0.8) & ~np.isnan(label)
    kept = undersampled(label, chosen, seed=3)
    rare = float(rate < 0.5)
    assert kept[chosen & (label == rare)].all()
    assert (kept & (label == 1)).sum() == (kept & (label == 0)).sum() == (chosen & (label == rare)).sum()
    assert not (kept & ~chosen).any()
    assert np.array_equal(kept, undersampled(label, chosen, seed=3))
    assert not np.array_equal(kept, undersampled(label, chosen, seed=4))
