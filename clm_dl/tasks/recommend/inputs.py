"""RankingInputs: the batches of a ranking; long training histories are cut into windows, items are known by code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.sequences.options import BatchOptions, SequenceOptions, VocabularyOptions
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError
from clm_dl.tasks.recommend.cases import RankedCases

ITEM, WINDOW = "item", "window"  # field of the items; split of the further windows


class RankingInputs(SequenceInputs):
    """Batches of the histories of a ranking, for networks whose every token predicts the next one.

    The vocabulary of the field item is the whole catalogue in code order: network id = code + 2; the other fields are
    fitted on the training rows. A training history longer than `max_tokens` gives further rows of the dataset, windows
    that overlap by one token, so that every token but the first is a target once; their `index_B` is not below N. Where
    the ranking is positional, recency and tenure end at the last event: the time of the target is no input.

    Args:
        cases: what is asked; its snapshots are the first N rows of the dataset, its catalogue's schema is
            `schema["items"]`.
        sequence, batches, vocabulary: see `SequenceInputs`. The item is always among the categorical fields.

    Raises:
        ValueError: as there; no customer with two training tokens; a token that reaches over the end of a history.
    """

    def __init__(
        self, cases: RankedCases, *, sequence: SequenceOptions, batches: BatchOptions, vocabulary: VocabularyOptions
    ):
        assert cases.ranking is not None
        store, token, max_tokens = cases.store, sequence.token, sequence.max_tokens
        assert max_tokens >= 2
        self.cases = cases
        snapshots = replace(cases.snapshots, cutoff=cases.at)
        starts = np.flatnonzero(store.order_start) if token == "order" else np.arange(store.num_events)
        edges = np.append(starts, store.num_events)
        first, last = np.searchsorted(edges, snapshots.start), np.searchsorted(edges, snapshots.stop)
        if token == "order" and not np.array_equal(edges[last], snapshots.stop):
            raise UserError(
                "sequence.token=order reaches over the end of a history that ends with a line: set sequence.token=line"
            )
        train = snapshots.split == "train"
        self._train = np.flatnonzero(train & (last - first >= 2))
        if train.any() and not len(self._train):
            raise UserError(
                f"no customer has two training {token}s, so there is no next one to learn: let validation begin later"
            )
        windows = _windows(snapshots, np.flatnonzero(train), first, last, edges, np.asarray(store.time), max_tokens)
        self._train = np.append(self._train, len(snapshots) + np.arange(len(windows)))
        categorical = sequence.categorical
        named = None if categorical is None else tuple(dict.fromkeys([ITEM, *categorical]))
        exclude = tuple(name for name in sequence.exclude if name != ITEM)
        sequence = replace(sequence, categorical=named, exclude=exclude)
        rows = _concatenate(snapshots, windows)
        super().__init__(store, rows, sequence=sequence, batches=batches, vocabulary=vocabulary)
        self.snapshots = cases.snapshots
        self.schema.setdefault("items", cases.catalogue.schema())

    def rows(self, split: str) -> np.ndarray:
        return self._train if split == "train" else np.flatnonzero(self.snapshots.split == split)

    def _fit_vocabulary(
        self, store: EventStore, fields: Sequence[str], rows: np.ndarray, options: VocabularyOptions
    ) -> Vocabulary:
        others = Vocabulary.fit(store, [name for name in fields if name != ITEM], rows=rows, options=options).fields
        items = [str(item) for item in self.cases.catalogue.item_ids]
        return Vocabulary({name: items if name == ITEM else others[name] for name in fields})


def _windows(
    snapshots: Snapshots,
    train: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    edges: np.ndarray,
    time: np.ndarray,
    size: int,
) -> Snapshots:
    """The tokens of training histories before their last `size`: windows of `size` tokens that share one with the next.

    Window j of a history ends j · (size − 1) tokens before its end; the earliest has what is left, at least two tokens.
    """
    length = last[train] - first[train]
    number = np.maximum(-(-(length - size) // (size - 1)), 0)
    place = np.repeat(train, number)
    step = np.arange(len(place)) - np.repeat(np.cumsum(number) - number, number) + 1
    end = last[place] - step * (size - 1)
    begin = np.maximum(end - size, first[place])
    start, stop = edges[begin], edges[end]
    return replace(
        snapshots.select(place), split=np.full(len(place), WINDOW), start=start, stop=stop, cutoff=time[stop - 1]
    )


def _concatenate(left: Snapshots, right: Snapshots) -> Snapshots:
    arrays = {item.name: getattr(left, item.name) for item in fields(Snapshots)}
    arrays = {
        name: np.concatenate([value, getattr(right, name)])
        for name, value in arrays.items()
        if isinstance(value, np.ndarray)
    }
    return replace(left, **arrays)
