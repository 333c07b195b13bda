"""MultiTaskNetwork: several questions and the next event from one encoder, a head for each.

Shapes: B snapshots, T tokens, D width, I parts (questions, then the next event), F fields of the next event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.nn import HeadFeatures
from clm_dl.nn.next_event import NextEventHead
from clm_dl.tasks.multitask.options import NEXT_EVENT, MultiTaskOptions
from clm_dl.tasks.network import PooledNetwork, width
from clm_dl.tasks.pretrain.network import field_weights, mean_losses
from clm_dl.tasks.question import Question

# log variances lie in (−REACH, REACH): the loss of a density may fall below 0, and then nothing else would hold them
REACH = 5.0


class MultiTaskNetwork(PooledNetwork):
    """One vector, one head a question; the loss of part i is L_i, that of the whole a sum over the parts of `weights`.

    weighting=fixed: Σ w_i · L_i. weighting=uncertainty: Σ w_i · (exp(−s_i) · L_i + s_i) with log variances s_i that are
    learnt from 0 on (Kendall, Gal & Cipolla 2018, who have it for regression times ½). Where s_i is at rest it equals
    ln L_i, so a part counts by the ratio in which it falls. The validation loss is Σ w_i · L_i for both.

    Args:
        questions: by name; each reads its own columns of the targets.
        weights: of every part, the questions in their order, then the next event where it has one.
    """

    options: MultiTaskOptions
    weight_F: Tensor  # of each field of the next event
    part_weight_I: Tensor

    def __init__(
        self,
        questions: Mapping[str, Question],
        weights: Mapping[str, float],
        schema: Mapping[str, Any],
        *,
        encoder: Mapping[str, Any],
        options: MultiTaskOptions,
        seed: int = 0,
    ) -> None:
        super().__init__(schema, encoder=encoder, options=options, seed=seed)
        self.questions, self.weights = dict(questions), dict(weights)
        self.predicts_next = NEXT_EVENT in self.weights
        if self.predicts_next and not encoder.get("causal", True):
            raise UserError(
                f"task.weights.next_event needs a causal encoder, got encoder={encoder['name']} with causal=false: set "
                "it to 0"
            )
        self.build_vector()
        features = {
            name: HeadFeatures(schema, bounded_recency=question.bounded_recency)
            for name, question in self.questions.items()
        }
        self.head_features = nn.ModuleDict(features)
        heads = {
            name: question.head(width(self.pooling), width(self.head_features[name]))
            for name, question in self.questions.items()
        }
        self.heads = nn.ModuleDict(heads)
        if self.predicts_next:
            self.next_event = NextEventHead(width(self.encoder), schema)
            names = self.next_event.names
            self.register_buffer("weight_F", torch.full((len(names),), 1 / len(names)))
        self.register_buffer("part_weight_I", torch.tensor(list(self.weights.values())), persistent=False)
        if options.weighting == "uncertainty":
            self.log_variance_I = nn.Parameter(torch.zeros(len(self.weights)))

    def fit_floor(self, batches: Iterable[EventBatch]) -> None:
        """Begin the next event at the same guess for every token, fitted on training batches, whose loss is 1."""
        if not self.predicts_next:
            return
        batches, marginal = list(batches), NextEventHead(1, self.schema)
        marginal.fit_marginals(batches)
        self.next_event.begin_at(marginal)
        with torch.no_grad():
            self.weight_F.copy_(field_weights(mean_losses([marginal.of_everyone(batch) for batch in batches])))

    # --- answers

    def forward(self, batch: EventBatch) -> dict[str, Tensor]:
        """The output of every question."""
        return self._outputs(self.states(batch), batch)

    def answer(self, name: str, batch: EventBatch) -> Tensor:
        """The answer to one question."""
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
        if self.predicts_next:
            found[NEXT_EVENT] = self._next_event_loss([self.next_event(h_BTD, batch)])
        return found

    def batch_loss(self, batch: EventBatch) -> Tensor:
        return self.combined(self.losses(batch))

    def combined(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The training loss, from that of every part."""
        loss_I = torch.stack(list(losses.values()))
        if self.options.weighting == "uncertainty":
            s_I = self.log_variances()
            loss_I = (-s_I).exp() * loss_I + s_I
        return (self.part_weight_I * loss_I).sum()

    def log_variances(self) -> Tensor:
        """s_I of the uncertainty weighting."""
        return REACH * (self.log_variance_I / REACH).tanh()

    def _next_event_loss(self, found: list[tuple[Tensor, Tensor]]) -> Tensor:
        return (mean_losses(found) * self.weight_F).sum()

    # --- validation

    def validate(self, batch: EventBatch) -> dict[str, tuple[Tensor, Tensor]]:
        h_BTD = self.states(batch)
        found = {
            name: (output.float(), self.questions[name].truth(batch))
            for name, output in self._outputs(h_BTD, batch).items()
        }
        return found | ({NEXT_EVENT: self.next_event(h_BTD, batch)} if self.predicts_next else {})

    def judge(self, found: list[dict[str, tuple[Tensor, Tensor]]]) -> dict[str, Tensor | float]:
        total: Tensor | float = 0.0
        judged: dict[str, Tensor | float] = {}
        for name, weight in self.weights.items():
            parts = [part[name] for part in found]
            if name == NEXT_EVENT:
                metrics, monitor = {"loss": self._next_event_loss(parts)}, "loss"
            else:
                question = self.questions[name]
                metrics = question.metrics(*(torch.cat(part) for part in zip(*parts, strict=True)))
                monitor = question.monitor
            total = total + weight * metrics[monitor]
            judged |= {f"{name}_{metric}": value for metric, value in metrics.items()}
        return {**judged, "loss": total}

    def scalars(self) -> dict[str, Tensor]:
        """The learnt weight of every part."""
        if self.options.weighting != "uncertainty":
            return {}
        weights = (-self.log_variances()).exp()
        return {f"weighting/{name}": weight for name, weight in zip(self.weights, weights, strict=True)}
