"""RecommendNetwork: every position of the encoder predicts the item, or the items of the order, that comes next.

Shapes: B snapshots, T tokens, D width, V catalogue, L lines of a batch, Q positions that rank, M pairs (position,
target). Ids are network ids: PAD 0, UNK 1, item code + 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clm_dl.data.ranking.catalogue import Catalogue
from clm_dl.data.sequences.batch import EventBatch
from clm_dl.errors import UserError
from clm_dl.nn import EventEmbedding, build_encoder
from clm_dl.nn.embedding import UNKNOWN
from clm_dl.nn.embedding_bag import bag_mean
from clm_dl.nn.selection import picks_out
from clm_dl.tasks.network import SequenceNetwork, width
from clm_dl.tasks.recommend.losses import build_ranking_loss
from clm_dl.tasks.recommend.options import RecommendOptions
from clm_dl.tasks.recommend.tower import FIRST, ItemTower

ITEM = "item"
MASK_RATE = 0.2  # share of the tokens that masked training hides (Sun et al. 2019, BERT4Rec)


class RecommendNetwork(SequenceNetwork):
    """All-position training (Kang & McAuley 2018, SASRec): the vector of token t ranks the item, or the items of the
    order, of token t + 1.

    The input of a token is its item's vector, plus a linear map of its other fields and of its time when
    `options.context` is set. `options.residual` adds that input to the token's output, times one learned number that
    starts at 0 (Bachlechner et al. 2021, ReZero): what came last ranks at once, the encoder need not learn to pass it
    on. Only positions that have a target reach the product with the catalogue; those of one order weigh 1 together.
    `objective: masked` hides a share of the tokens from a bidirectional encoder and predicts those (Sun et al. 2019,
    BERT4Rec); it scores with a mask behind the last token.
    """

    options: RecommendOptions

    def __init__(
        self, schema: Mapping[str, Any], *, encoder: Mapping[str, Any], options: RecommendOptions, seed: int = 0
    ) -> None:
        super().__init__(schema, encoder=encoder, options=options, seed=seed)
        masked, size = options.objective == "masked", options.size
        if masked and schema["token"] != "line":
            raise UserError(
                "task.objective=masked hides lines, got tokens that are orders: set task.objective=next or "
                "task=next_item"
            )
        if masked == bool(encoder.get("causal", True)):
            raise UserError(
                f"task.objective={options.objective} needs an encoder with causal={str(not masked).lower()}, got "
                f"encoder={encoder['name']}: encoder=bert4rec goes with task.objective=masked, every other with next"
            )
        self.tower = ItemTower(schema["items"], size=size, **asdict(options.tower))
        self.context: EventEmbedding | None = None
        if options.context:
            others = {name: count for name, count in schema["categorical"].items() if name != ITEM}
            self.context = EventEmbedding({**schema, "categorical": others}, **asdict(options.embedding))
            self.context_map = nn.Linear(self.context.output_size, size)
        self.encoder = build_encoder(encoder, size)
        self.output = nn.Identity() if width(self.encoder) == size else nn.Linear(width(self.encoder), size)
        self.dropout = nn.Dropout(options.dropout)
        self.residual = nn.Parameter(torch.zeros(())) if options.residual else None
        self.ranking_loss = build_ranking_loss(options.loss)
        self.mask_D = nn.Parameter(0.02 * torch.randn(size)) if masked else None

    def load_catalogue(self, catalogue: Catalogue) -> None:
        """Give the item tower what is known of the items."""
        categorical = {name: torch.from_numpy(code_V) for name, code_V in catalogue.categorical.items()}
        # a frame of one column may be read-only
        numeric_VF = torch.from_numpy(catalogue.numeric.to_numpy(np.float32, copy=True))
        self.tower.load_catalogue(
            torch.from_numpy(catalogue.count), categorical, numeric_VF, torch.from_numpy(catalogue.vectors)
        )

    def undecayed(self) -> list[nn.Parameter]:
        tables = [p for p in self.tower.parameters() if p.ndim >= 2]
        return tables if self.context is None else [*tables, *self.context.tables]

    # --- forward

    def tokens(self, batch: EventBatch) -> Tensor:
        """x_BTD: what the encoder reads."""
        # Vaswani et al. 2017: N(0, .02) at a size it can hear
        x_BTD = self.item_input(batch) * math.sqrt(self.options.size)
        if self.context is not None:
            x_BTD = x_BTD + self.context_map(self.context(batch))
        return x_BTD

    def item_input(self, batch: EventBatch) -> Tensor:
        """The item vector of each token: [B, T, D]; an order's is the mean of its lines'."""
        if batch.bags:
            ids_L, offset_N = batch.bags[ITEM]
            if picks_out(ids_L):
                used_U, place_L = ids_L.unique(return_inverse=True)
            elif len(ids_L) > self.tower.num_items:
                used_U, place_L = torch.arange(self.tower.num_items + FIRST, device=ids_L.device), ids_L
            else:
                used_U, place_L = ids_L, torch.arange(len(ids_L), device=ids_L.device)
            return bag_mean(self.tower.input(used_U), place_L, offset_N).unflatten(0, batch.mask_BT.shape)
        return self.tower.input(batch.categorical[ITEM])

    def encode(self, x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor) -> Tensor:
        x_BTD = self.dropout(x_BTD)
        h_BTD: Tensor = self.output(self.encoder(x_BTD, mask_BT, time_BT))
        return h_BTD if self.residual is None else h_BTD + self.residual * x_BTD

    def embed(self, batch: EventBatch) -> Tensor:
        """Customer vectors `z_BD`: they rank what comes after the last token."""
        x_BTD, mask_BT, time_BT, last_B = self.tokens(batch), batch.mask_BT, batch.time_BT, batch.length_B - 1
        if self.mask_D is not None:  # one more token, hidden, right behind the last
            last_B = batch.length_B
            places = getattr(self.encoder, "place_TD", None)
            # a full history gives its oldest token for the place of the mask
            if places is not None and len(places) == x_BTD.shape[1]:
                full_B = last_B == len(places)
                x_BTD = torch.where(full_B[:, None, None], x_BTD.roll(-1, dims=1), x_BTD)[:, :-1]
                time_BT = torch.where(full_B[:, None], time_BT.roll(-1, dims=1), time_BT)[:, :-1]
                last_B = last_B - full_B.long()
            x_BTD = nn.functional.pad(x_BTD, (0, 0, 0, 1))
            x_BTD[torch.arange(len(last_B), device=last_B.device), last_B] = self.mask_D.to(x_BTD.dtype)
            mask_BT = torch.arange(x_BTD.shape[1], device=last_B.device) <= last_B[:, None]
            time_BT = nn.functional.pad(time_BT, (0, 1))
            time_BT = torch.where(mask_BT, time_BT.cummax(dim=1).values, 0.0)
        h_BTD = self.encode(x_BTD, mask_BT, time_BT)
        return h_BTD[torch.arange(len(last_B), device=last_B.device), last_B]

    # --- training

    def targets(self, batch: EventBatch) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """(place_Q, item_M, weight_M, row_M): flat positions b·T + t and the items of token t + 1, each once; unknown
        items are none. Target m belongs to position row_M[m], None = each to its own. The targets of a position weigh 1
        together, None = every one does; where nothing is picked out, what is no target weighs 0.
        """
        if not batch.bags:
            ids_BT = batch.categorical[ITEM]
            wanted_BT = batch.mask_BT[:, 1:] & (ids_BT[:, 1:] > UNKNOWN)
            place_BT = torch.arange(ids_BT.numel(), device=ids_BT.device).view_as(ids_BT)[:, :-1]
            return self._wanted(place_BT, ids_BT[:, 1:], wanted_BT)
        ids_L, offset_N = batch.bags[ITEM]
        bag_L = torch.repeat_interleave(offset_N.diff(), output_size=len(ids_L))
        wanted_L = (ids_L > UNKNOWN) & (bag_L % batch.mask_BT.shape[1] > 0)
        size = self.tower.num_items + FIRST  # ids
        pair_L = bag_L * size + ids_L
        if picks_out(ids_L):
            pair_M = pair_L[wanted_L].unique()
            place_M, item_M = torch.div(pair_M, size, rounding_mode="floor") - 1, pair_M % size
            place_Q, row_M, num_Q = place_M.unique_consecutive(return_inverse=True, return_counts=True)
            return place_Q, item_M, 1.0 / num_Q[row_M], row_M
        pair_L, order_L = pair_L.sort()
        repeated_L = torch.cat([wanted_L.new_zeros(1), pair_L.diff() == 0])[: len(pair_L)]
        counts_L = (wanted_L[order_L] & ~repeated_L).float()
        row_L = (bag_L[order_L] - 1).clamp(min=0)
        num_Q = counts_L.new_zeros(batch.mask_BT.numel()).index_add(0, row_L, counts_L)
        item_L = torch.where(counts_L > 0, ids_L[order_L], self.tower.warm[0])
        place_Q = torch.arange(len(num_Q), device=ids_L.device)
        return place_Q, item_L, counts_L / num_Q[row_L].clamp(min=1.0), row_L

    def _wanted(
        self, place_BT: Tensor, ids_BT: Tensor, wanted_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None]:
        """Targets, one a position, as `targets` gives them."""
        if picks_out(ids_BT):
            return place_BT[wanted_BT], ids_BT[wanted_BT], None, None
        item_BT = torch.where(wanted_BT, ids_BT, self.tower.warm[0])  # some item that can be a target
        return place_BT.flatten(), item_BT.flatten(), wanted_BT.flatten().float(), None

    def batch_loss(self, batch: EventBatch) -> Tensor:
        x_BTD = self.tokens(batch)
        if self.mask_D is not None:
            hidden_BT = self._hidden(batch)
            place_BT = torch.arange(hidden_BT.numel(), device=hidden_BT.device).view_as(hidden_BT)
            place_Q, item_M, weight_M, row_M = self._wanted(place_BT, batch.categorical[ITEM], hidden_BT)
            x_BTD = torch.where(hidden_BT.unsqueeze(-1), self.mask_D.to(x_BTD.dtype), x_BTD)
        else:
            place_Q, item_M, weight_M, row_M = self.targets(batch)
        h_ND = self.encode(x_BTD, batch.mask_BT, batch.time_BT).flatten(0, 1)  # [B,T,D] -> [B·T,D]
        return self.ranking_loss(h_ND[place_Q], item_M, self.tower, weight_P=weight_M, row_P=row_M)

    def _hidden(self, batch: EventBatch) -> Tensor:
        """Tokens that masked training hides."""
        ids_BT, step_T = batch.categorical[ITEM], torch.arange(batch.mask_BT.shape[1], device=batch.mask_BT.device)
        hidden_BT = torch.rand(ids_BT.shape, device=ids_BT.device) < MASK_RATE
        hidden_BT |= step_T == (batch.length_B - 1)[:, None]  # the last one always: it is what scoring asks for
        return hidden_BT & batch.mask_BT & (ids_BT > UNKNOWN)

    # --- validation: vectors, which `RankedModule` ranks the whole catalogue with

    def validate(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        return batch.index_B, self.embed(batch)

    def judge(self, found: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor | float]:
        raise TypeError("ranks need to know what is to be found: see RankedModule")
