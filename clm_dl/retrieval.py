"""Retrieval: exact top-k over scores, and over item vectors in blocks; items near an item, customers for an item, index
export.

Shapes: B rows (snapshots), V catalogue, D width, C customers, K length of the list.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from clm_dl.errors import MissingExtra, UserError

Ints = NDArray[np.int64]
Ragged = tuple[Ints, Ints]  # offsets [B + 1] and items [sum]: row b has items[offsets[b]:offsets[b + 1]]
Scorer = Callable[[Ints], "Tensor | NDArray[Any]"]  # index of snapshots [B] -> scores of every item [B, V]
SIMILARITIES = ("dot", "cosine")
BLOCK_CELLS = 1 << 23  # scores held at once by a search


def top_k(score_BV: Tensor | NDArray[Any], k: int, *, removed: Ragged | None = None) -> tuple[Ints, NDArray[Any]]:
    """The k items of highest score of each row, best first: (item codes, scores), both [B, K].

    Equal scores are listed by item code, so the list never depends on a block's size or an engine's partition.
    `removed` (offsets, items) are never listed, nor is a score of −inf: places left over hold item −1 and score NaN.

    Raises:
        ValueError: k below 1 or above the number of items; a score is NaN.
    """
    score_BV = as_tensor(score_BV)
    num_rows, num_items = score_BV.shape
    if not 1 <= k <= num_items:
        raise UserError(f"k must be from 1 to the {num_items} items of the catalogue, got {k}")
    if removed is not None:
        score_BV = score_BV.clone()
        score_BV[_rows(removed[0], score_BV.device), torch.as_tensor(removed[1], device=score_BV.device)] = -torch.inf
    value_BK, item_BK = score_BV.topk(min(k + 1, num_items), dim=1)
    if value_BK[:, :1].isnan().any():  # topk takes NaN for the largest
        raise UserError(
            f"scores must be numbers, got NaN in {int(value_BK[:, 0].isnan().sum())} of {num_rows} rows; check the "
            "model"
        )
    if num_items > k:
        _lowest_codes_first(score_BV, value_BK, item_BK, k)
    value, item = value_BK[:, :k].cpu().numpy(), item_BK[:, :k].cpu().numpy()
    order = np.lexsort((item, -value), axis=-1)
    value, item = np.take_along_axis(value, order, 1), np.take_along_axis(item, order, 1)
    missing = np.isneginf(value)
    return np.where(missing, -1, item), np.where(missing, np.nan, value)


def _lowest_codes_first(score_BV: Tensor, value_BK: Tensor, item_BK: Tensor, k: int) -> None:
    """Where the last place is tied with items outside the list, give the tied places to the lowest codes, in place."""
    rows = ((value_BK[:, k - 1] == value_BK[:, k]) & (value_BK[:, k] > -torch.inf)).nonzero()[:, 0]
    if not len(rows):
        return
    num_items, last = score_BV.shape[1], value_BK[rows, k - 1 : k]
    code_V = torch.arange(num_items, device=score_BV.device, dtype=torch.int32)
    tied_BK = torch.where(score_BV[rows] == last, num_items - code_V, 0).topk(k, dim=1).indices
    place_BK = torch.arange(k, device=score_BV.device) - (value_BK[rows, :k] > last).sum(1, keepdim=True)
    item_BK[rows, :k] = torch.where(place_BK < 0, item_BK[rows, :k], tied_BK.gather(1, place_BK.clamp(min=0)))


def _rows(offsets: Ints, device: torch.device) -> Tensor:
    return torch.as_tensor(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), device=device)


class ItemIndex:
    """Exact search over item vectors [V, D], in blocks of bounded memory.

    Args:
        item_ids: [V] names of the items; position = code.
        similarity: "dot", or "cosine" (vectors of any length; a zero vector is like nothing).
    """

    def __init__(
        self, vectors: NDArray[Any] | Tensor, item_ids: Sequence[Any] | NDArray[Any], *, similarity: str = "dot"
    ) -> None:
        if similarity not in SIMILARITIES:
            raise UserError(f"similarity must be {' or '.join(SIMILARITIES)}, got {similarity!r}")
        self.similarity = similarity
        self.item_ids = np.asarray(item_ids, dtype=object)
        self.vectors_VD = self._normal(vectors)
        if len(self.vectors_VD) != len(self.item_ids):
            raise UserError(
                f"an index needs one vector an item, got {len(self.vectors_VD)} vectors for {len(self.item_ids)} items"
            )

    def __len__(self) -> int:
        return len(self.item_ids)

    def codes(self, items: Sequence[Any]) -> Ints:
        """Positions of `items` by name, compared as text. ValueError names an unknown one and the nearest known."""
        items = [str(item) for item in one_or_many(items)]
        code = pd.Index([str(item) for item in self.item_ids], dtype=object).get_indexer(pd.Index(items, dtype=object))
        if (code < 0).any():
            unknown = items[int(np.argmax(code < 0))]
            near = difflib.get_close_matches(unknown, map(str, self.item_ids), n=1, cutoff=0.0)
            raise UserError(
                f"no item {unknown!r} among the {len(self)} items of the catalogue; the nearest is {near[0]!r}"
            )
        return code.astype(np.int64)

    def search(self, z_BD: NDArray[Any] | Tensor, k: int, *, seen: Ragged | None = None) -> tuple[Ints, NDArray[Any]]:
        """The k best items of each vector z [B, D]: (item codes, scores) [B, K] each, without the `seen` (`top_k`)."""
        z_BD = self._normal(z_BD)
        step = max(1, BLOCK_CELLS // max(1, len(self)))
        parts = []
        for start in range(0, len(z_BD), step):
            stop = min(start + step, len(z_BD))
            removed = None if seen is None else take_ragged(seen, np.arange(start, stop))
            parts.append(top_k(z_BD[start:stop] @ self.vectors_VD.T, k, removed=removed))
        return (
            (np.concatenate([item for item, _ in parts]), np.concatenate([score for _, score in parts]))
            if parts
            else self._none(k)
        )

    def similar(self, items: Sequence[Any], k: int = 10) -> pd.DataFrame:
        """The k items nearest to each of `items` (cross-sell), not itself: columns item_id, rank, similar_id, score."""
        code = self.codes(items)
        found, score = self.search(self.vectors_VD[code], k, seen=(np.arange(len(code) + 1), code))
        return _long("item_id", self.item_ids[code], "similar_id", self.item_ids, found, score)

    def audience(
        self, items: Sequence[Any], z_CD: NDArray[Any] | Tensor, customer_ids: Sequence[Any] | NDArray[Any], k: int = 10
    ) -> pd.DataFrame:
        """The k of the C customers nearest to each of `items`: columns item_id, rank, customer_id, score."""
        code = self.codes(items)
        ids = np.asarray(customer_ids, dtype=object)
        if not 1 <= k <= len(ids):
            raise UserError(f"k must be from 1 to the {len(ids)} customers, got {k}")
        found, score = ItemIndex(z_CD, ids, similarity=self.similarity).search(self.vectors_VD[code], k)
        return _long("item_id", self.item_ids[code], "customer_id", ids, found, score)

    def export(self, engine: str, path: str | Path) -> None:
        """Write the vectors (normalised for cosine) as an index of `engine` (faiss, usearch); keys are codes."""
        if engine not in EXPORTS:
            raise UserError(f"an index is exported to {' or '.join(EXPORTS)}, got {engine!r}")
        try:
            library = importlib.import_module("faiss" if engine == "faiss" else "usearch.index")
        except ImportError as error:
            raise MissingExtra(
                f"export to {engine} needs the extra retrieval: pip install 'clm-dl[retrieval]'"
            ) from error
        EXPORTS[engine](library, np.ascontiguousarray(self.vectors_VD.numpy()), str(path))

    def _normal(self, vectors: NDArray[Any] | Tensor) -> Tensor:
        vectors = as_tensor(vectors).detach().to("cpu", torch.float32)
        return torch.nn.functional.normalize(vectors, dim=1) if self.similarity == "cosine" else vectors

    def _none(self, k: int) -> tuple[Ints, NDArray[Any]]:
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)


def one_or_many(values: Any) -> list[Any]:
    """A list of what was given: its members, or the single value, which may be text."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]


def take_ragged(ragged: Ragged, index: Ints) -> Ragged:
    """The rows `index` of (offsets, items), in that order, as (offsets, items)."""
    offsets, items = ragged
    length = np.diff(offsets)[index]
    new = np.concatenate([[0], np.cumsum(length)])
    source = np.arange(new[-1]) + np.repeat(np.asarray(offsets)[:-1][index] - new[:-1], length)
    return new, np.asarray(items)[source]


def as_tensor(score_BV: Tensor | NDArray[Any]) -> Tensor:
    """A tensor over the same memory; a copy where that is read-only, as of a broadcast row."""
    return score_BV if isinstance(score_BV, Tensor) else torch.from_numpy(np.require(score_BV, requirements="W"))


def _long(
    name: str, rows: NDArray[Any], other: str, names: NDArray[Any], code_BK: Ints, score_BK: NDArray[Any]
) -> pd.DataFrame:
    row, place = np.nonzero(code_BK >= 0)
    return pd.DataFrame(
        {name: rows[row], "rank": place + 1, other: names[code_BK[row, place]], "score": score_BK[row, place]}
    )


def _write_faiss(faiss: Any, vectors: NDArray[np.float32], path: str) -> None:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, path)


def _write_usearch(usearch: Any, vectors: NDArray[np.float32], path: str) -> None:
    index = usearch.Index(ndim=vectors.shape[1], metric="ip")
    index.add(np.arange(len(vectors)), vectors)
    index.save(path)


EXPORTS: dict[str, Callable[[Any, NDArray[np.float32], str], None]] = {"faiss": _write_faiss, "usearch": _write_usearch}
