"""ItemTower: one vector an item out of its id and its content, read by the encoder's input and by the ranking at its
output.

Shapes: V catalogue, D width, F numeric fields, C categorical fields, E content vector, P positions with a target, K
items asked for, W items the training softmax runs over. Ids are those of the network: PAD 0, UNK 1, item code + 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clm_dl.errors import UserError
from clm_dl.nn.embedding import PAD, UNKNOWN, RobustScale, signed_log1p

FIRST = 2  # network id of item code 0
OUTPUTS, SIMILARITIES = ("tied", "separate"), ("dot", "cosine")


class ItemTable(nn.Module):
    """An id vector plus a linear map of the content (LightFM, Kula 2015). All N(0, .02); PAD and UNK start at zero."""

    def __init__(self, num_ids: int, size: int, *, num_codes: int, dense_size: int) -> None:
        super().__init__()
        self.id_ID = nn.Parameter(0.02 * torch.randn(num_ids, size))
        with torch.no_grad():
            self.id_ID[:FIRST] = 0.0
        self.category = nn.Parameter(0.02 * torch.randn(num_codes, size)) if num_codes else None
        self.dense = nn.Parameter(0.02 * torch.randn(size, dense_size)) if dense_size else None

    def content(self, code: Tensor, dense: Tensor) -> Tensor:
        """[n, C], [n, F + E] -> [n, D]"""
        parts = [] if self.category is None else [F.embedding_bag(code, self.category, mode="sum")]
        parts += [] if self.dense is None else [F.linear(dense, self.dense)]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


class ItemTower(nn.Module):
    """Vectors of items for the encoder's input and for the ranking, in one space.

    An item that training never bought (count 0) has UNK's id vector; its content, where there is any, still tells it
    apart. With content the training softmax leaves such items out: as eternal negatives they would teach that what is
    new is never bought.

    Args:
        items: `{"num_items": V, "categorical": {field: number of values}, "numeric": {name: {"center", "scale"}},
            "vector_size": E}`; center and scale are of the signed log1p, as for events.
        size: D.
        output: "tied" ranks with the input's vectors, "separate" with a second set.
        similarity: "dot", or "cosine" (wants a temperature of about .05 to .2).
        temperature: logits are divided by it.
        content_dropout: share of the items whose content is left out in training.
        id_dropout: share of the items whose id vector is UNK's in training, so that their content alone has to rank
            them.
    """

    def __init__(
        self,
        items: Mapping[str, Any],
        *,
        size: int,
        output: str = "tied",
        similarity: str = "dot",
        temperature: float = 1.0,
        content_dropout: float = 0.0,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise UserError(f"item output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if similarity not in SIMILARITIES:
            raise UserError(f"item similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r}")
        if not temperature > 0:
            raise UserError(f"item temperature must be > 0, got {temperature}")
        for name, share in {"content_dropout": content_dropout, "id_dropout": id_dropout}.items():
            if not 0 <= share < 1:
                raise UserError(f"item {name} is a share of the items and must be in [0, 1), got {share}")
        self.num_items, self.size = int(items["num_items"]), size
        self.cosine, self.temperature = similarity == "cosine", temperature
        self.content_dropout, self.id_dropout = content_dropout, id_dropout
        self.fields, num_values = tuple(items["categorical"]), list(items["categorical"].values())
        self.scale = RobustScale(list(items["numeric"].values()))
        num_ids, dense_size = self.num_items + FIRST, len(items["numeric"]) + items["vector_size"]
        # a row a field for "missing"
        options = {"num_codes": sum(num_values) + len(num_values), "dense_size": dense_size}
        self.has_content = bool(self.fields) or dense_size > 0
        self.table = ItemTable(num_ids, size, **options)
        self.output_table = self.table if output == "tied" else ItemTable(num_ids, size, **options)
        first = torch.tensor([0, *num_values]).cumsum(0)[:-1] + torch.arange(len(num_values) + 1)[:-1]
        self.num_cold: int
        self.own: Tensor
        self.warm: Tensor
        self.place: Tensor
        self.code: Tensor
        self.dense: Tensor
        self.count: Tensor
        self.register_buffer("code", first.expand(num_ids, -1).clone())  # row of `category` of each field: missing
        self.register_buffer("dense", torch.zeros(num_ids, dense_size))
        self.register_buffer("count", torch.ones(self.num_items, dtype=torch.int64))
        self.register_load_state_dict_post_hook(_derive)
        _derive(self)

    def load_catalogue(
        self, count_V: Tensor, categorical: Mapping[str, Tensor], numeric_VF: Tensor, vectors_VE: Tensor
    ) -> None:
        """Fills in what is known of the items: lines in training, codes a field (−1 missing), raw numbers (NaN
        unknown), vectors.

        Vectors are divided by their root mean square length, so that their scale does not matter.
        """
        with torch.no_grad():
            self.count.copy_(torch.as_tensor(count_V))
            for place, name in enumerate(self.fields):
                self.code[FIRST:, place] = self.code[PAD, place] + 1 + torch.as_tensor(categorical[name]).to(self.code)
            number_VF = self.scale(signed_log1p(torch.as_tensor(numeric_VF).to(self.dense)))
            vectors_VE = torch.as_tensor(vectors_VE).to(self.dense)
            square_V = vectors_VE.square().sum(1)
            vectors_VE = vectors_VE / (square_V[square_V > 0].mean().sqrt() if (square_V > 0).any() else 1.0)
            self.dense[FIRST:] = torch.cat([number_VF, vectors_VE], dim=1)
        _derive(self)

    def input(self, ids: Tensor) -> Tensor:
        """Vectors for the encoder, [...] -> [..., D]; what stands at padding is arbitrary."""
        if self.has_content and ids.numel() > self.num_items:  # cheaper to work the catalogue out once
            all_ID = self._rows(self.table, torch.arange(self.num_items + FIRST, device=ids.device))
            return F.embedding(ids, all_ID, padding_idx=PAD)
        return self._rows(self.table, ids)

    def vectors(self, ids: Tensor | None = None) -> Tensor:
        """Vectors that rank, [V, D] in the order of the codes, or [len(ids), D]; of unit length for the cosine."""
        rows = self._rows(self.output_table, ids)
        return F.normalize(rows, dim=-1) if self.cosine else rows

    def query(self, h_PD: Tensor) -> Tensor:
        """States ready for the product with `vectors`: of unit length for the cosine, divided by the temperature."""
        if self.cosine:
            h_PD = F.normalize(h_PD, dim=-1)
        return h_PD if self.temperature == 1.0 else h_PD / self.temperature

    def logits(self, h_PD: Tensor, ids_K: Tensor | None = None) -> Tensor:
        """[P, V], or [P, K] for the items asked for."""
        return self.similarity(h_PD, self.vectors(ids_K))

    def similarity(self, h_PD: Tensor, vectors_KD: Tensor) -> Tensor:
        """Logits [P, K] of states and vectors worked out before."""
        return self.query(h_PD) @ vectors_KD.T

    def candidates(self, ids_P: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [W, D] that a softmax runs over and each target's row there: all items, or training's."""
        if self.training and self.has_content and self.num_cold:
            return self.vectors(self.warm), self.place[ids_P - FIRST]
        return self.vectors(), ids_P - FIRST

    def _rows(self, table: ItemTable, ids: Tensor | None) -> Tensor:
        drops = self.training and self.has_content and (self.id_dropout > 0 or self.content_dropout > 0)
        if ids is None and not (self.has_content or self.num_cold):
            return table.id_ID[FIRST:]  # a view: the usual case costs nothing
        if ids is None:
            ids = torch.arange(FIRST, self.num_items + FIRST, device=table.id_ID.device)
        own = self.own[ids] if self.num_cold else ids
        if drops:
            own = torch.where((torch.rand(ids.shape, device=ids.device) < self.id_dropout) & (ids != PAD), UNKNOWN, own)
        rows = F.embedding(own, table.id_ID, padding_idx=PAD)
        if not self.has_content:
            return rows
        flat = ids.flatten()
        content = table.content(self.code[flat], self.dense[flat]).view_as(rows)
        if drops:
            content = content * (torch.rand(ids.shape, device=ids.device) >= self.content_dropout).unsqueeze(-1)
        return rows + content


def _derive(tower: ItemTower, *_: Any) -> None:
    """What follows from the counts: which items are cold, the id row of each, the items of training and their place."""
    if tower.count.is_meta:  # made without memory, to find out whether it can be
        return
    warm_V = tower.count > 0
    tower.num_cold = int((~warm_V).sum())
    ids = torch.arange(tower.num_items + FIRST, device=warm_V.device)
    own = torch.cat([ids[:FIRST], torch.where(warm_V, ids[FIRST:], UNKNOWN)])
    for name, value in {"own": own, "warm": ids[FIRST:][warm_V], "place": warm_V.cumsum(0) - 1}.items():
        tower.register_buffer(name, value, persistent=False)
