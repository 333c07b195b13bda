"""NextItemTask and NextOrderTask: every position of the encoder predicts the item, or the items of the order, that
comes next.

Shapes: B snapshots, T tokens, D width, V catalogue, L lines of a batch, P positions with a target, M pairs (position,
target). Ids are network ids: PAD 0, UNK 1, item code + 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from clm_dl.retrieval import take_ragged
from clm_dl.tasks.module import SequenceTask, width
from clm_dl.tasks.recommend.accuracy import snapshot_metrics
from clm_dl.tasks.recommend.losses import build_ranking_loss
from clm_dl.tasks.recommend.ranks import rank, seen_items
from clm_dl.tasks.recommend.tower import ItemTower

ITEM = "item"
OBJECTIVES = ("next", "masked")
MASK_RATE = 0.2  # share of the tokens that masked training hides (Sun et al. 2019, BERT4Rec)


class NextItemTask(SequenceTask):
    """All-position training (Kang & McAuley 2018, SASRec): the vector of token t ranks the item of token t + 1.

    The input of a token is its item's vector, plus a linear map of its other fields and of its time when `task.context`
    is set. `task.residual` adds that input to the token's output, times one learned number that starts at 0
    (Bachlechner et al. 2021, ReZero): what came last ranks at once, the encoder need not learn to pass it on. Only
    positions that have a target reach the product with the catalogue. `objective: masked` hides a share of the tokens
    from a bidirectional encoder and predicts those (Sun et al. 2019, BERT4Rec); it scores with a mask behind the last
    token.
    """

    name, token = "next_item", "line"
    mode = "max"

    def build(self, schema: Mapping[str, Any], encoder: Mapping[str, Any]) -> None:
        options = self.task
        if options["objective"] not in OBJECTIVES:
            raise UserError(f"task.objective must be next or masked, got {options['objective']!r}")
        if schema["token"] != self.token:
            raise UserError(
                f"task={self.name} reads {self.token}s, got sequence.token={schema['token']}: set sequence={self.token}"
            )
        self.masked = options["objective"] == "masked"
        if self.masked and self.token != "line":
            raise UserError(
                f"task.objective=masked hides lines, got task={self.name}: set task.objective=next or task=next_item"
            )
        if self.masked == bool(encoder.get("causal", True)):
            raise UserError(
                f"task.objective={options['objective']} needs an encoder with causal={str(not self.masked).lower()}, "
                f"got encoder={encoder['name']}: encoder=bert4rec goes with task.objective=masked, every other with "
                "next"
            )
        size = options["size"]
        self.k = options.get("k", 10)  # checkpoints of before have none
        self.monitor = f"val/ndcg@{self.k}"
        self.tower = ItemTower(schema["items"], size=size, **options["tower"])
        self.context: EventEmbedding | None = None
        if options["context"]:
            others = {name: count for name, count in schema["categorical"].items() if name != ITEM}
            self.context = EventEmbedding({**schema, "categorical": others}, **options["embedding"])
            self.context_map = nn.Linear(self.context.output_size, size)
        self.encoder = build_encoder(encoder, size)
        self.output = nn.Identity() if width(self.encoder) == size else nn.Linear(width(self.encoder), size)
        self.dropout = nn.Dropout(options["dropout"])
        self.residual = nn.Parameter(torch.zeros(())) if options["residual"] else None
        self.ranking_loss = build_ranking_loss(options["loss"])
        self.mask_D = nn.Parameter(0.02 * torch.randn(size)) if self.masked else None
        self.evaluated: list[tuple[Tensor, Tensor]] = []

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
        x_BTD = self.item_input(batch) * math.sqrt(self.task["size"])
        if self.context is not None:
            x_BTD = x_BTD + self.context_map(self.context(batch))
        return x_BTD

    def item_input(self, batch: EventBatch) -> Tensor:
        """The item vector of each token: [B, T, D]; an order's is the mean of its lines'."""
        if batch.bags:
            ids_L, offset_N = batch.bags[ITEM]
            used_U, place_L = ids_L.unique(return_inverse=True)
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

    def targets(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        """(place_M, item_M): flat positions b·T + t and the ids of the items of token t + 1; unknown items are no
        target.
        """
        ids_BT = batch.categorical[ITEM]
        wanted_BT = batch.mask_BT[:, 1:] & (ids_BT[:, 1:] > UNKNOWN)
        place_BT = torch.arange(ids_BT.numel(), device=ids_BT.device).view_as(ids_BT)[:, :-1]
        return place_BT[wanted_BT], ids_BT[:, 1:][wanted_BT]

    def batch_loss(self, batch: EventBatch) -> Tensor:
        x_BTD = self.tokens(batch)
        if self.mask_D is not None:
            return self._masked_loss(batch, x_BTD, self.mask_D)
        place_M, item_M = self.targets(batch)
        h_ND = self.encode(x_BTD, batch.mask_BT, batch.time_BT).flatten(0, 1)  # [B,T,D] -> [B·T,D]
        if not batch.bags:
            return self.ranking_loss(h_ND[place_M], item_M, self.tower)
        place_P, row_M, num_P = place_M.unique_consecutive(return_inverse=True, return_counts=True)
        return self.ranking_loss(h_ND[place_P], item_M, self.tower, weight_P=1.0 / num_P[row_M], row_P=row_M)

    def _masked_loss(self, batch: EventBatch, x_BTD: Tensor, mask_D: Tensor) -> Tensor:
        ids_BT, step_T = batch.categorical[ITEM], torch.arange(batch.mask_BT.shape[1], device=batch.mask_BT.device)
        hidden_BT = torch.rand(ids_BT.shape, device=ids_BT.device) < MASK_RATE
        hidden_BT |= step_T == (batch.length_B - 1)[:, None]  # the last one always: it is what scoring asks for
        hidden_BT &= batch.mask_BT & (ids_BT > UNKNOWN)
        h_BTD = self.encode(
            torch.where(hidden_BT.unsqueeze(-1), mask_D.to(x_BTD.dtype), x_BTD), batch.mask_BT, batch.time_BT
        )
        return self.ranking_loss(h_BTD[hidden_BT], ids_BT[hidden_BT], self.tower)

    # --- validation: exact ranks over the whole catalogue

    def validation_step(self, batch: EventBatch, batch_idx: int) -> None:
        self.evaluated.append((batch.index_B, self.embed(batch)))

    def on_validation_epoch_end(self) -> None:
        index_N = torch.cat([index for index, _ in self.evaluated]).cpu().numpy()
        z_ND = torch.cat([z for _, z in self.evaluated])
        self.evaluated.clear()
        place = np.empty(int(index_N.max()) + 1, dtype=np.int64)
        place[index_N] = np.arange(len(index_N))
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]

        vectors_VD = self.tower.vectors()

        def scorer(index_B: np.ndarray) -> Tensor:
            return (
                self.tower.similarity(z_ND[torch.from_numpy(place[index_B]).to(z_ND.device)], vectors_VD).float().cpu()
            )

        index_N.sort()
        ranking, num_items = datamodule.ranking, self.tower.num_items
        snapshots = ranking.snapshots.select(index_N)
        ranks = rank(
            scorer,
            index_N,
            targets=take_ragged((ranking.target_offsets, ranking.targets), index_N),
            seen=seen_items(ranking.store.column(ITEM), snapshots.start, snapshots.stop),
            num_items=num_items,
            k=self.k,
            repeats=self.task["repeats"],
        )
        accuracy = snapshot_metrics(
            ranks.target_offsets, ranks.above, ranks.ties, ranks.candidates, num_items=num_items, k=self.k
        )
        for name in (f"ndcg@{self.k}", f"hr@{self.k}"):
            self.log(f"val/{name}", float(np.nanmean(accuracy[name])), prog_bar=name.startswith("ndcg"))
        self.log(f"val/coverage@{self.k}", len(np.unique(ranks.top[ranks.top >= 0])) / num_items)


class NextOrderTask(NextItemTask):
    """Tokens are orders; the vector of order t ranks the items of order t + 1, each weighted by one over their number."""

    name, token = "next_order", "order"

    def targets(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        ids_L, offset_N = batch.bags[ITEM]
        bag_L = torch.repeat_interleave(offset_N.diff(), output_size=len(ids_L))
        wanted_L = (ids_L > UNKNOWN) & (bag_L % batch.mask_BT.shape[1] > 0)
        size = self.tower.num_items + 2  # ids
        pair_M = (bag_L[wanted_L] * size + ids_L[wanted_L]).unique()  # an item counts once an order
        return torch.div(pair_M, size, rounding_mode="floor") - 1, pair_M % size
