"""MultiTask: churn, survival, value and the next event from one encoder, a head for each.

Shapes: B snapshots, T tokens, D width, I parts (questions, then the next event), F fields of the next event.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.nn import HeadFeatures
from clm_dl.nn.next_event import NextEventHead
from clm_dl.tasks.churn.module import ChurnQuestion
from clm_dl.tasks.module import PooledTask, width
from clm_dl.tasks.pretrain.module import field_weights, mean_losses
from clm_dl.tasks.question import Question
from clm_dl.tasks.survival.module import SurvivalQuestion
from clm_dl.tasks.value.module import ValueQuestion

QUESTIONS: dict[str, type[Question]] = {"churn": ChurnQuestion, "survival": SurvivalQuestion, "value": ValueQuestion}
NEXT_EVENT = "next_event"  # the part that has no scores: what it predicts are the histories, which training saw
WEIGHTINGS = ("fixed", "uncertainty")
# log variances lie in (−REACH, REACH): the loss of a density may fall below 0, and then nothing else would hold them
REACH = 5.0


class MultiTask(PooledTask):
    """One vector, one head a question; the loss of part i is L_i, that of the task a sum over the parts of
    `task.weights`.

    weighting=fixed: Σ w_i · L_i. weighting=uncertainty: Σ w_i · (exp(−s_i) · L_i + s_i) with log variances s_i that are
    learnt from 0 on (Kendall, Gal & Cipolla 2018, who have it for regression times ½). Where s_i is at rest it equals
    ln L_i, so a part counts by the ratio in which it falls. The validation loss is Σ w_i · L_i for both.

    The targets of a batch are those of survival (its intervals), then those of value (spend, orders).
    """

    name = "multitask"
    monitor, mode = "val/loss", "min"
    weight_F: Tensor  # of each field of the next event
    part_weight_I: Tensor

    def build(self, schema: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
        self.weights = part_weights(self.task)
        if NEXT_EVENT in self.weights and not encoder.get("causal", True):
            raise UserError(
                f"task.weights.next_event needs a causal encoder, got encoder={encoder['name']} with causal=false: set "
                "it to 0"
            )
        self.questions: dict[str, Question] = {}
        first = 0
        for name in questions(self.task):
            stop = first + {"survival": len(self.task["horizons_days"]), "value": 2}.get(name, 0)
            self.questions[name] = QUESTIONS[name](self.task, schema, columns=slice(first, stop))
            first = stop
        self.build_vector(schema, encoder)
        self.head_features = nn.ModuleDict(
            {
                name: HeadFeatures(schema, bounded_recency=question.bounded_recency)
                for name, question in self.questions.items()
            }
        )
        self.heads = nn.ModuleDict(
            {
                name: question.head(width(self.pooling), width(self.head_features[name]))
                for name, question in self.questions.items()
            }
        )
        self.validation_outputs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in self.weights}
        if NEXT_EVENT in self.weights:
            self.next_event = NextEventHead(width(self.encoder), schema)
            self.register_buffer("weight_F", torch.full((len(self.next_event.names),), 1 / len(self.next_event.names)))
        self.register_buffer("part_weight_I", torch.tensor(list(self.weights.values())), persistent=False)
        if self.task["weighting"] == "uncertainty":
            self.log_variance_I = nn.Parameter(torch.zeros(len(self.weights)))

    def fit_floor(self, batches: Iterable[EventBatch]) -> None:
        """Begin the next event at the same guess for every token, fitted on training batches, whose loss is 1."""
        if NEXT_EVENT not in self.weights:
            return
        batches, marginal = list(batches), NextEventHead(1, self.hparams["schema"])
        marginal.fit_marginals(batches)
        self.next_event.begin_at(marginal)
        with torch.no_grad():
            self.weight_F.copy_(field_weights(mean_losses([marginal.of_everyone(batch) for batch in batches])))

    # --- answers

    def forward(self, batch: EventBatch) -> dict[str, Tensor]:
        """The output of every question."""
        return self._outputs(self.states(batch), batch)

    def logits(self, batch: EventBatch) -> Tensor:
        """Of churn, as `ChurnTask.logits`."""
        return self._answer("churn", batch)

    def active(self, batch: EventBatch) -> Tensor:
        """Of survival, as `SurvivalTask.active`."""
        return self._answer("survival", batch)

    def forecast(self, batch: EventBatch) -> Tensor:
        """Of value, as `ValueTask.forecast`."""
        return self._answer("value", batch)

    def _answer(self, name: str, batch: EventBatch) -> Tensor:
        return self.questions[name].answer(self.heads[name](self.embed(batch), self.head_features[name](batch)))

    def _outputs(self, h_BTD: Tensor, batch: EventBatch) -> dict[str, Tensor]:
        z_BD = self.pooling(h_BTD, batch.mask_BT)
        return {name: head(z_BD, self.head_features[name](batch)) for name, head in self.heads.items()}

    # --- losses

    def losses(self, batch: EventBatch) -> dict[str, Tensor]:
        """The loss of every part, a scalar each."""
        h_BTD = self.states(batch)
        outputs = self._outputs(h_BTD, batch)
        found = {name: question.loss(outputs[name], question.truth(batch)) for name, question in self.questions.items()}
        if NEXT_EVENT in self.weights:
            found[NEXT_EVENT] = self._next_event_loss([self.next_event(h_BTD, batch)])
        return found

    def batch_loss(self, batch: EventBatch) -> Tensor:
        return self.combined(self.losses(batch))

    def combined(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The training loss, from that of every part."""
        loss_I = torch.stack(list(losses.values()))
        if self.task["weighting"] == "uncertainty":
            s_I = self.log_variances()
            loss_I = (-s_I).exp() * loss_I + s_I
        return (self.part_weight_I * loss_I).sum()

    def log_variances(self) -> Tensor:
        """s_I of the uncertainty weighting."""
        return REACH * (self.log_variance_I / REACH).tanh()

    def _next_event_loss(self, found: list[tuple[Tensor, Tensor]]) -> Tensor:
        return (mean_losses(found) * self.weight_F).sum()

    # --- validation

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        h_BTD = self.states(batch)
        for name, output in self._outputs(h_BTD, batch).items():
            self.validation_outputs[name].append((output.float(), self.questions[name].truth(batch)))
        if NEXT_EVENT in self.weights:
            self.validation_outputs[NEXT_EVENT].append(self.next_event(h_BTD, batch))

    def on_validation_epoch_end(self) -> None:
        total = torch.zeros((), device=self.device)
        for name, weight in self.weights.items():
            found = self.validation_outputs[name]
            if name == NEXT_EVENT:
                metrics, monitor = {"loss": self._next_event_loss(found)}, "loss"
            else:
                question = self.questions[name]
                metrics, monitor = (
                    question.metrics(*(torch.cat(part) for part in zip(*found, strict=True))),
                    question.monitor,
                )
            found.clear()
            total = total + weight * metrics[monitor]
            for metric, value in metrics.items():
                self.log(f"val/{name}_{metric}", value)
        self.log("val/loss", total, prog_bar=True)  # of the whole epoch, as in SnapshotTask
        if self.task["weighting"] == "uncertainty":
            for name, weight in zip(self.weights, (-self.log_variances()).exp(), strict=True):
                self.log(f"weighting/{name}", weight)


def questions(task: Mapping[str, Any]) -> list[str]:
    """Names of what a task is asked, each with scores of its own: of a multi-task run its questions, else the task
    itself.
    """
    return (
        [name for name in part_weights(task) if name in QUESTIONS] if task["name"] == MultiTask.name else [task["name"]]
    )


def part_weights(task: Mapping[str, Any]) -> dict[str, float]:
    """The parts of `task.weights` that have a weight, in the order of their heads; raises ValueError for what cannot be
    a weight.
    """
    known, given = (*QUESTIONS, NEXT_EVENT), task["weights"]
    if not isinstance(given, Mapping):
        raise UserError(f"task.weights must give a weight to each of {', '.join(known)}, got {given!r}")
    for name, weight in given.items():
        if name not in known:
            raise UserError(f"task.weights has parts {', '.join(known)}, got {name!r}: leave it out")
        if weight is not None and (
            isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf
        ):
            raise UserError(f"task.weights.{name} must be a number ≥ 0 or null, got {weight!r}")
    if not any(given.get(name) for name in QUESTIONS):
        raise UserError(
            f"task.weights leaves no question to answer: give {', '.join(QUESTIONS)} or one of them a weight above 0"
        )
    if task["weighting"] not in WEIGHTINGS:
        raise UserError(f"task.weighting must be fixed or uncertainty, got {task['weighting']!r}")
    return {name: float(given[name]) for name in known if given.get(name)}
