"""PretrainNetwork: embedding, encoder and pooling learnt from histories without labels, for other runs to start from.

Shapes: B snapshots, M slices, F fields of the objective.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.errors import UserError
from clm_dl.nn.next_event import GAP, NextEventHead
from clm_dl.tasks.network import PooledNetwork, width
from clm_dl.tasks.pretrain.contrast import contrastive_loss, draw_slices, take_slices
from clm_dl.tasks.pretrain.metrics import LEAST
from clm_dl.tasks.pretrain.options import PretrainOptions

SAMPLE = 10_000  # training snapshots, about, that the floor is fitted on
HIDDEN = 0.2  # share of the tokens that masked_event hides (Sun et al. 2019, BERT4Rec)


class PretrainNetwork(PooledNetwork):
    """Three objectives: every position predicts the next token (`NextEventHead`), hidden tokens are told from what
    stands on both sides of them, or slices of one history find each other (`contrast`). The gap before a hidden token
    is no target: its neighbours' times give it away.

    The loss is the mean over the objective's fields, each divided by what a model that says the same of everyone loses
    on training, so that 1 is nothing learnt; a field that hardly varies is left out. For coles, which has the one field
    `contrast`, that model gives every slice the same vector.
    """

    options: PretrainOptions
    weight_F: Tensor  # of each field's loss

    def __init__(
        self, schema: Mapping[str, Any], *, encoder: Mapping[str, Any], options: PretrainOptions, seed: int = 0
    ) -> None:
        super().__init__(schema, encoder=encoder, options=options, seed=seed)
        self.objective = options.objective
        causal = encoder.get("causal", True)
        if self.objective == "next_event" and not causal:
            raise UserError(
                f"task.objective=next_event needs a causal encoder, got encoder={encoder['name']} with causal=false"
            )
        if self.objective == "masked_event" and causal:
            raise UserError(
                f"task.objective=masked_event needs an encoder that sees both sides, got encoder={encoder['name']}: "
                "use encoder=transformer encoder.causal=false"
            )
        if self.objective != "coles" and options.pooling == "attention":
            raise UserError(
                f"task.objective={self.objective} trains no pooling, got task.pooling=attention: choose last, mean or "
                "max"
            )
        self.build_vector()
        self.fields: tuple[str, ...] = ("contrast",)
        if self.objective == "masked_event":
            self.hidden_D = nn.Parameter(0.02 * torch.randn(self.embedding.output_size))
        if self.objective != "coles":
            self.head = NextEventHead(width(self.encoder), schema)
            self.marginal = NextEventHead(1, schema).requires_grad_(False)  # the same for every token
            self.kept = [
                place for place, name in enumerate(self.head.names) if self.objective == "next_event" or name != GAP
            ]
            self.fields = tuple(self.head.names[place] for place in self.kept)
        self.register_buffer("weight_F", torch.full((len(self.fields),), 1 / len(self.fields)))

    def fit_floor(self, batches: Iterable[EventBatch]) -> None:
        """Fit the model that says the same of everyone on training batches: the floor, and where the head begins."""
        batches = list(batches)
        if self.objective != "coles":
            self.marginal.fit_marginals(batches)
            self.head.begin_at(self.marginal)
        self.eval()
        self.weight_F.copy_(field_weights(mean_losses([self.floor_losses(batch) for batch in batches])))
        self.train()

    # --- losses by customer and field: their sum and the number of predictions, [B, F] each

    def losses(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """Those of the network; slices and hidden tokens are random in training, else the same each time."""
        generator = None if self.training else torch.Generator().manual_seed(self.seed)  # the same on every device
        if self.objective == "next_event":
            return self._kept(*self.head(self.states(batch), batch))
        if self.objective == "masked_event":
            device = batch.mask_BT.device if generator is None else generator.device
            share_BT = torch.rand(batch.mask_BT.shape, generator=generator, device=device)
            hidden_BT = (share_BT < HIDDEN).to(batch.mask_BT.device) & batch.mask_BT
            x_BTD = torch.where(hidden_BT.unsqueeze(-1), self.hidden_D, self.embedding(batch))
            h_BTD = self.encoder(x_BTD, batch.mask_BT, batch.time_BT)
            # the head reads what it predicts one place before
            return self._kept(*self.head(h_BTD.roll(-1, dims=1), batch, hidden_BT))
        options = self.options.slices
        drawn = {"num": options.num, "min_tokens": options.min_tokens, "max_tokens": options.max_tokens}
        chosen = draw_slices(batch.length_B, generator=generator, **drawn)
        return self._of_slices(self.embed(take_slices(batch, *chosen, max_tokens=options.max_tokens)), batch)

    @torch.no_grad()
    def floor_losses(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """Those of the model that says the same of everyone."""
        if self.objective != "coles":
            return self._kept(*self.marginal.of_everyone(batch))
        return self._of_slices(batch.gap_BT.new_ones(len(batch) * self.options.slices.num, 1), batch)

    def _kept(self, sum_BF: Tensor, count_BF: Tensor) -> tuple[Tensor, Tensor]:
        return sum_BF[:, self.kept], count_BF[:, self.kept]

    def _of_slices(self, z_MD: Tensor, batch: EventBatch) -> tuple[Tensor, Tensor]:
        slices = self.options.slices
        options: dict[str, Any] = {"num": slices.num, "margin": slices.margin, "negatives": slices.negatives}
        real_B1 = batch.length_B.unsqueeze(1) > 0
        loss_M = contrastive_loss(z_MD, real_B1.expand(-1, slices.num).flatten(), **options)
        loss_B1 = loss_M.view(len(batch), -1).sum(1, keepdim=True)
        return loss_B1, slices.num * real_B1.to(loss_B1)

    # --- training

    def batch_loss(self, batch: EventBatch) -> Tensor:
        return (mean_losses([self.losses(batch)]) * self.weight_F).sum()

    def validate(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        return self.losses(batch)

    def judge(self, found: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor | float]:
        loss_F = mean_losses(found)
        whole: dict[str, Tensor | float] = {"loss": (loss_F * self.weight_F).sum()}
        return whole | {f"loss_{name}": value for name, value in zip(self.fields, loss_F, strict=True)}


def training_sample(inputs: SequenceInputs) -> DataLoader[EventBatch]:
    """Batches of SAMPLE training snapshots, about, that a floor is fitted on."""
    train = inputs.rows("train")
    return inputs.loader(train[:: max(1, len(train) // SAMPLE)])


def mean_losses(found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean loss of each field [F] over all predictions; 0 where there is none."""
    sum_F, count_F = (torch.stack([part.sum(0) for part in parts]).sum(0) for parts in zip(*found, strict=True))
    return sum_F / count_F.clamp(min=1.0)


def field_weights(floor_F: Tensor) -> Tensor:
    """Weights [F] that make the mean over fields 1 where each loses its floor; a field that hardly varies has none."""
    varies_F = floor_F > LEAST
    return torch.where(varies_F, 1.0 / floor_F.clamp(min=LEAST), 0.0) / varies_F.sum().clamp(min=1)
