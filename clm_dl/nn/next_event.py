"""NextEventHead: from the state after each token, what the next one holds: its categorical values, the gap before it,
its numbers.

Shapes: B snapshots, T tokens, D width, L lines of a batch, P positions with a target of the field at hand (all B·T
where none is picked out), V ids of its vocabulary, N numbers (gap and numeric fields), F fields (categorical ones, then
numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clm_dl.nn.embedding import UNKNOWN, RobustScale, signed_log1p
from clm_dl.nn.selection import picks_out

if TYPE_CHECKING:
    from clm_dl.data.sequences.batch import EventBatch

GAP = "time_gap"  # days to the next token, among the names of the fields
STEPS = 50  # of the mean that is robust in Huber's sense


class NextEventHead(nn.Module):
    """h_BTD -> losses by customer and field, [B, F] each: their sum over the predicted tokens, and how many of these
    there are.

    Position t predicts token t + 1, if that is in `wanted_BT` where it is given. A categorical field is a softmax over
    its vocabulary: −ln p of the token's value, of an order the mean over its lines; PAD and UNK are no target. Gap and
    numeric fields are judged by Huber's loss (threshold 1) on the scale of `EventEmbedding`; a missing number is no
    target.

    Attributes:
        names: the F fields.
    """

    def __init__(self, input_size: int, schema: Mapping[str, Any]) -> None:
        super().__init__()
        self.fields = tuple(schema["categorical"])
        self.names = (*self.fields, GAP, *schema["numeric"])
        self.logits = nn.ModuleList(nn.Linear(input_size, count) for count in schema["categorical"].values())
        self.numbers = nn.Linear(input_size, 1 + len(schema["numeric"]))
        self.scale = RobustScale([schema["time"]["gap"], *schema["numeric"].values()])

    def forward(self, h_BTD: Tensor, batch: EventBatch, wanted_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        num, length = batch.mask_BT.shape
        h_MD = h_BTD.flatten(0, 1)  # [B,T,D] -> [B·T,D]
        sums, counts = [], []
        for name, layer in zip(self.fields, self.logits, strict=True):
            place_P, weight_P, row_L, ids_L, share_L = self.lines(name, batch, wanted_BT)
            logit_PV = layer(h_MD if place_P is None else h_MD[place_P]).float()
            chosen_L = logit_PV[row_L, ids_L] * share_L
            loss_P = weight_P * logit_PV.logsumexp(1) - torch.zeros_like(logit_PV[:, 0]).index_add(0, row_L, chosen_L)
            if place_P is None:
                sums.append(loss_P.view(num, length).sum(1, keepdim=True))
                counts.append(weight_P.view(num, length).sum(1, keepdim=True))
                continue
            nothing_B = loss_P.new_zeros(num)
            customer_P = torch.div(place_P, length, rounding_mode="floor")
            sums.append(nothing_B.index_add(0, customer_P, loss_P).unsqueeze(1))
            counts.append(nothing_B.index_add(0, customer_P, weight_P).unsqueeze(1))
        value_BTN, known_BTN = self.values(batch)
        if wanted_BT is not None:
            known_BTN = known_BTN & wanted_BT[:, 1:].unsqueeze(-1)
        guess_BTN = self.numbers(h_BTD[:, :-1]).float()
        loss_BTN = F.huber_loss(guess_BTN, value_BTN, reduction="none").masked_fill(~known_BTN, 0.0)
        return torch.cat([*sums, loss_BTN.sum(1)], dim=1), torch.cat([*counts, known_BTN.sum(1).float()], dim=1)

    def lines(
        self, name: str, batch: EventBatch, wanted_BT: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor]:
        """Targets of a categorical field: place_P, flat predicting positions, None = all; weight_P, 1 where there is a
        target; row_L, ids_L, share_L = 1 / lines of its token, 0 where it is no target.
        """
        length = batch.mask_BT.shape[1]
        if batch.bags:
            ids_L, offset_N = batch.bags[name]
            token_L = torch.repeat_interleave(offset_N.diff(), output_size=len(ids_L))
        else:
            ids_L = batch.categorical[name].flatten()
            token_L = torch.arange(len(ids_L), device=ids_L.device)
        wanted_L = (ids_L > UNKNOWN) & (token_L % length > 0)
        if wanted_BT is not None:
            wanted_L &= wanted_BT.flatten()[token_L]
        if picks_out(ids_L):
            place_P, row_L, num_P = (token_L[wanted_L] - 1).unique_consecutive(return_inverse=True, return_counts=True)
            share_L = 1.0 / num_P[row_L]
            return place_P, torch.ones_like(num_P, dtype=share_L.dtype), row_L, ids_L[wanted_L], share_L
        row_L, counts_L = (token_L - 1).clamp(min=0), wanted_L.float()
        num_P = counts_L.new_zeros(batch.mask_BT.numel()).index_add(0, row_L, counts_L)
        return None, (num_P > 0).float(), row_L, ids_L, counts_L / num_P[row_L].clamp(min=1.0)

    def values(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """Scaled gap and numbers of tokens 1 … T − 1, and which of them are known: [B, T − 1, N] each."""
        raw_BTN = torch.cat([batch.gap_BT.unsqueeze(-1), signed_log1p(batch.numeric_BTF)], dim=-1)[:, 1:]
        return self.scale(raw_BTN), batch.mask_BT[:, 1:].unsqueeze(-1) & ~raw_BTN.isnan()

    @torch.no_grad()
    def fit_marginals(self, batches: Iterable[EventBatch]) -> None:
        """Say the same of every token: how common each value is (one more of each), Huber's mean of each number."""
        biases = [layer.get_parameter("bias") for layer in self.logits]
        count = [torch.zeros_like(bias_V) for bias_V in biases]
        values, known = [], []
        for batch in batches:
            for place, name in enumerate(self.fields):
                *_, ids_L, share_L = self.lines(name, batch)
                count[place].index_add_(0, ids_L, share_L)
            value_BTN, known_BTN = self.values(batch)
            values.append(value_BTN.flatten(0, 1))
            known.append(known_BTN.flatten(0, 1))
        for bias_V, count_V in zip(biases, count, strict=True):
            count_V[UNKNOWN + 1 :] += 1.0
            bias_V.copy_(count_V.clamp(min=1e-6).log())
        value_MN, known_MN = torch.cat(values), torch.cat(known)
        center_N = value_MN.new_zeros(value_MN.shape[1])
        for _ in range(STEPS):  # iteratively reweighted means
            weight_MN = known_MN / (value_MN - center_N).abs().clamp(min=1.0)
            center_N = (weight_MN * value_MN).sum(0) / weight_MN.sum(0).clamp(min=1e-9)
        self.numbers.bias.copy_(center_N)
        for layer in (*self.logits, self.numbers):
            layer.get_parameter("weight").zero_()

    @torch.no_grad()
    def begin_at(self, marginal: NextEventHead) -> None:
        """Start from what `marginal` says of every token: its biases, and weights near 0."""
        for mine, theirs in zip([*self.logits, self.numbers], [*marginal.logits, marginal.numbers], strict=True):
            mine.get_parameter("weight").normal_(std=0.01)
            mine.get_parameter("bias").copy_(theirs.get_parameter("bias"))

    def of_everyone(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """Losses of a head of input size 1 that was fitted by `fit_marginals`, as in forward."""
        found: tuple[Tensor, Tensor] = self(batch.gap_BT.new_zeros(*batch.mask_BT.shape, 1), batch)
        return found
