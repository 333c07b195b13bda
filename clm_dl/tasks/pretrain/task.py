"""PretrainTask: embedding and encoder learnt from everyone's history up to the last training cutoff, without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from clm_dl.baselines.spec import CannotAnswer, Fitted, Spec
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.snapshots.scoring import scoring_snapshots
from clm_dl.data.snapshots.snapshots import build_snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.evaluation.bootstrap import Measure
from clm_dl.evaluation.metric import NETWORK, Metric, Metrics
from clm_dl.tasks.base import Answers, ScoredTask
from clm_dl.tasks.cases import Cases
from clm_dl.tasks.network import SequenceNetwork
from clm_dl.tasks.pretrain.histories import unlabelled_snapshots
from clm_dl.tasks.pretrain.metrics import MARGINAL, LossTable, loss_measure, loss_rows, read_losses
from clm_dl.tasks.pretrain.network import PretrainNetwork, training_sample
from clm_dl.tasks.pretrain.options import PretrainOptions
from clm_dl.tasks.processes import each

if TYPE_CHECKING:
    from clm_dl.visual.pages import Pages

BLOCK = 64  # customers that are judged together: slices are held against their block's
MAIN_FIELDS = 4  # whose losses stand in the main table


class PretrainTask(ScoredTask):
    """A row of the Scores table is a customer, a model and a field of the objective; the score is a loss."""

    name = "pretrain"
    monitor = "val/loss"
    calibrated = False
    features_at_head = False  # there is no head
    options: PretrainOptions
    options_type = PretrainOptions
    starts_others = True
    predicts = False

    def check(self) -> None:
        settings = self.settings
        if settings.rule is not None and settings.rule.folds > 1:
            raise UserError(
                f"task=pretrain has a single fold, got snapshots.folds={settings.rule.folds}: set snapshots.folds=1"
            )
        if not settings.has_network:
            raise UserError("task=pretrain trains an encoder, got encoder=none: choose one")

    def cases(self, store: EventStore, *, fold: int = 0) -> Cases:
        """One a customer; the rule of the labelled ones says up to when."""
        assert self.settings.rule is not None
        labelled = build_snapshots(store, self.settings.rule, fold=fold, labels=self.settings.labels)
        return Cases(store, unlabelled_snapshots(store, labelled, held_out=self.options.held_out))

    def cases_at(self, store: EventStore, cutoff: int) -> Cases:
        assert self.settings.rule is not None
        snapshots, in_population = scoring_snapshots(store, cutoff, self.settings.rule, labels=self.settings.labels)
        return Cases(store, snapshots, in_population=in_population)

    def fingerprint(self, cases: Cases) -> str:
        """That of the snapshots and of the objective."""
        return cases.digest(self.options.objective.encode())

    def network(self, schema: Mapping[str, Any]) -> PretrainNetwork:
        settings = self.settings
        return PretrainNetwork(schema, encoder=settings.encoder, options=self.options, seed=settings.seed)

    def prepare(self, network: SequenceNetwork, inputs: SequenceInputs) -> None:
        assert isinstance(network, PretrainNetwork)
        network.fit_floor(training_sample(inputs))

    @torch.inference_mode()
    def answers(self, network: SequenceNetwork, inputs: SequenceInputs, rows: np.ndarray) -> Answers:
        """(model, places in `rows`, sums of losses [n, F], predictions [n, F]) of each split, the network's and below
        them those of the model that says the same of everyone.
        """
        assert isinstance(network, PretrainNetwork)
        network.eval()
        found, split = [], inputs.snapshots.split[rows]
        for name in ("val", "test"):
            place_n = np.flatnonzero(split == name)
            blocks = [rows[place_n[start : start + BLOCK]] for start in range(0, len(place_n), BLOCK)]
            for model, losses in ((NETWORK, network.losses), (MARGINAL, network.floor_losses)):
                parts = each(partial(_told, network, inputs, losses), blocks)
                sum_NF, count_NF = (torch.cat(part).double().numpy() for part in zip(*parts, strict=True))
                found.append((model, place_n, sum_NF, count_NF))
        return found, network.fields

    def fit_baseline(self, spec: Spec, cases: Cases, others: Mapping[str, Answers]) -> tuple[Any, Answers]:
        raise CannotAnswer(f"{spec.name} answers questions, and task=pretrain asks none: set baselines=none")

    def baseline_answers(self, fitted: Fitted, cases: Cases, others: Mapping[str, Answers]) -> Answers:
        raise CannotAnswer(f"{fitted.spec.name} answers questions, and task=pretrain asks none")

    def write(self, cases: Cases, rows: np.ndarray, answers: Answers, calibration: Any, *, model: str) -> pd.DataFrame:
        found, fields = answers
        parts = [
            loss_rows(
                cases.store, cases.snapshots.select(rows[place_n]), fields, model=name, loss=sums, predictions=counts
            )
            for name, place_n, sums, counts in found
        ]
        return pd.concat(parts, ignore_index=True)

    # --- figures

    @property
    def pages(self) -> Pages:
        from clm_dl.tasks.pretrain.pages import PretrainPages  # draws

        return PretrainPages(self.metrics)

    def metrics(self, summary: Mapping[str, Any] | None = None) -> Metrics:
        """The loss relative to the floor; `summary` says which fields have one of their own."""
        fields = summary["fields"] if summary else ()
        losses = [
            Metric(f"loss@{name}", name, "low", shown="table" if place < MAIN_FIELDS else "more")
            for place, name in enumerate(fields)
        ]
        return Metrics([Metric("loss", "loss / floor", "low", shown="main"), *losses])

    def read(self, scores: pd.DataFrame, split: str, *, models: Sequence[str] | None = None) -> LossTable:
        return read_losses(scores, split, models)

    def measure(self, table: LossTable, *, raw: bool = False) -> Measure:
        return loss_measure(table)

    def reference(self, table: LossTable) -> dict[str, Any]:
        customers, predictions = len(table), table.losses[MARGINAL][1].sum(0).astype(int).tolist()
        named = dict(zip(table.fields, predictions, strict=True))
        return {"snapshots": customers, "customers": customers, "predictions": named}

    def extras(self, tables: Mapping[str, Any], cases: Iterable[Cases]) -> dict[str, Any]:
        return {"objective": self.options.objective, "fields": list(tables["test"].fields)}


def _told(
    network: PretrainNetwork, inputs: SequenceInputs, losses: Callable[..., tuple[torch.Tensor, ...]], block: np.ndarray
) -> tuple[torch.Tensor, ...]:
    """The sums of losses and the predictions of a block of customers, on the CPU."""
    return tuple(part.cpu() for part in losses(inputs.dataset[block].to(network.device)))
