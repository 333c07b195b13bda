"""SequenceInputs: vocabulary and schema fitted once on training history, then loaders that make whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch, EventDataset
from clm_dl.data.sequences.draw import CustomerDraw
from clm_dl.data.sequences.loading import DeviceLoader, fits
from clm_dl.data.sequences.options import BatchOptions, SequenceOptions, VocabularyOptions
from clm_dl.data.sequences.sampler import TokenBudgetSampler
from clm_dl.data.sequences.schema import check_schema, fit_schema, static_inputs
from clm_dl.data.sequences.shapes import ShapedSampler
from clm_dl.data.sequences.tokens import NUM_LINES, Sequences
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.snapshots.calendar import known_future
from clm_dl.data.snapshots.features import history_columns, history_features
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.attributes import attributes_at
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


class SequenceInputs:
    """Batches of the histories of `snapshots`.

    Args:
        sequence: tokens and fields. batches: how they are cut.
        vocabulary, schema: of a trained run, applied as they are; a schema without "head" is that of a pretraining: the
            rest is fitted. With options and no schema both are fitted on the training snapshots.
        history: the features of `features.history_features`, a row a snapshot, where they are known already.
        calendar: table of known-future covariates, see `calendar.known_future`.
        targets: float `[N, K]`, NaN unknown: `target_BK` of the batches.
        trained: bool `[N]`, the training snapshots that an epoch reads; None = all that are labelled.

    Attributes:
        vocabulary: the Vocabulary. schema: plain dict, see `schema.fit_schema`. notes: what a user should be told.
        num_shapes: about the most shapes that the batches of an epoch of training have, see `shapes.ShapedSampler`;
            None = each is as long as its longest history.

    Raises:
        ValueError: no training snapshot to fit on, or a schema that does not fit the store.
    """

    def __init__(
        self,
        store: EventStore,
        snapshots: Snapshots,
        *,
        sequence: SequenceOptions,
        batches: BatchOptions,
        vocabulary: Vocabulary | VocabularyOptions,
        schema: Mapping[str, Any] | None = None,
        history: pd.DataFrame | None = None,
        calendar: Mapping[str, Any] | None = None,
        targets: np.ndarray | None = None,
        trained: np.ndarray | None = None,
    ):
        assert isinstance(vocabulary, Vocabulary) == (schema is not None), "a vocabulary and a schema belong together"
        begun = schema is not None and "head" not in schema
        categorical, numeric, exclude = sequence.categorical, sequence.numeric, sequence.exclude
        if schema is not None and not begun:  # the fields of the run, whatever else this store may hold
            categorical, exclude = tuple(schema["categorical"]), ()
            numeric = tuple(name for name in schema["numeric"] if name != NUM_LINES)
            _check_fields(store, categorical, numeric)
        static, static_N = attributes_at(store, snapshots.customer, snapshots.cutoff)
        static = static.drop(columns=[name for name in exclude if name in static.columns])
        sequences = Sequences.from_store(
            store,
            token=sequence.token,
            categorical=categorical,
            numeric=numeric,
            exclude=[name for name in exclude if name not in store.static.columns or store.has(name)],
            max_lines=sequence.max_lines,
        )
        if begun and schema is not None and isinstance(vocabulary, Vocabulary):
            _check_begun(schema, vocabulary, sequences)
        self.notes: list[str] = []
        known = pd.DataFrame(index=range(len(snapshots)))
        if calendar:
            known = known_future(calendar, snapshots, store.zone, self.notes.append)
        if sequence.features:
            if history is None:
                history = history_features(store, snapshots, distinct=sequences.categorical)
            table = history[history_columns(history, sequences.categorical)]
            known = pd.concat([known, np.sign(table) * np.log1p(table.abs())], axis=1)
        if schema is None or begun:
            training = snapshots.training
            if not training.any():
                raise UserError(
                    "there is no labelled training snapshot to fit the vocabulary on: check the cutoffs and the horizon"
                )
            chosen = snapshots.select(training)
            if isinstance(vocabulary, VocabularyOptions):
                rows = sequences.visible_rows(chosen)
                vocabulary = self._fit_vocabulary(store, sequences.categorical, rows, vocabulary)
            attributes = static.iloc[np.unique(static_N[training])]
            schema = fit_schema(sequences, vocabulary, chosen, known[training], attributes) | dict(schema or {})
        else:
            assert isinstance(vocabulary, Vocabulary)
            names = {"known": list(known.columns), "static": list(static.columns)}
            check_schema(schema, token=sequence.token, vocabulary=vocabulary, **names)
        self.vocabulary, self.snapshots = vocabulary, snapshots
        self._trained = snapshots.training if trained is None else trained
        self.schema: dict[str, Any] = dict(schema)
        self.dataset = EventDataset(
            sequences,
            vocabulary,
            snapshots,
            max_tokens=sequence.max_tokens,
            static_US=static_inputs(schema, static),
            static_N=static_N,
            known_NK=np.array(known[list(schema["known"])], dtype=np.float32),
            target_NK=targets,
        )
        self.num_shapes: int | None = None
        self._samplers: dict[tuple[int, int, int | None], TokenBudgetSampler] = {}
        self._batches = batches
        self._device = torch.device("cpu")

    @property
    def num_training(self) -> int:
        """Rows of the dataset that an epoch of training reads."""
        return len(self.rows("train"))

    def to(self, device: torch.device) -> None:
        """Make batches for this device from now on: the histories move there, if they fit."""
        self._device = device
        if device != self.dataset.device and (device.type == "cpu" or fits(self.dataset, device)):
            self.dataset = self.dataset.to(device)

    def train_loader(self, *, epoch: int = 0, rank: int = 0, world_size: int = 1) -> DataLoader[EventBatch]:
        """Labelled training snapshots, shuffled anew each epoch; processes share them."""
        sampler = self.train_sampler(rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        return self._loader(sampler)

    def train_sampler(self, *, rank: int = 0, world_size: int = 1) -> TokenBudgetSampler:
        """The one sampler of training, kept: it remembers how it cut the epoch that it was asked for last."""
        key = (rank, world_size, self.num_shapes)
        if key not in self._samplers:
            rows, mean = self.rows("train"), self._batches.cutoffs_per_customer
            draw = mean and CustomerDraw(self.snapshots.customer[rows], mean=mean, seed=self._batches.seed)
            how: dict[str, Any] = {"draw": draw, "shuffle": True, "rank": rank, "world_size": world_size}
            how |= {"num_steps": self._batches.steps_per_epoch, "num_passes": self._batches.passes_per_epoch}
            if self.num_shapes is not None:
                how |= {"cls": ShapedSampler, "num_shapes": self.num_shapes, "filler": len(self.dataset)}
            self._samplers[key] = self._sampler(rows, **how)
        return self._samplers[key]

    def loader(self, index: np.ndarray, *, rank: int = 0, world_size: int = 1) -> DataLoader[EventBatch]:
        """Each of these snapshots once, from the longest to the shortest; `index_B` says which is which. Processes
        share them.
        """
        return self._loader(self._sampler(np.asarray(index), shuffle=False, rank=rank, world_size=world_size))

    def rows(self, split: str) -> np.ndarray:
        """int64: the rows of the dataset that training ("train"), early stopping ("val") and the test read."""
        chosen = {"train": self._trained, "val": self.snapshots.early_stopping}
        return np.flatnonzero(chosen.get(split, self.snapshots.split == split))

    def _fit_vocabulary(
        self, store: EventStore, fields: Sequence[str], rows: np.ndarray, options: VocabularyOptions
    ) -> Vocabulary:
        return Vocabulary.fit(store, fields, rows=rows, options=options)

    def _sampler(
        self, index: np.ndarray, *, cls: type[TokenBudgetSampler] = TokenBudgetSampler, **how: Any
    ) -> TokenBudgetSampler:
        batches = self._batches
        how |= {"max_tokens": batches.max_tokens_per_batch, "batch_size": batches.batch_size, "seed": batches.seed}
        return cls(self.dataset.lengths[index], index_N=index, **how)

    def _loader(self, sampler: TokenBudgetSampler) -> DataLoader[EventBatch]:
        # batch_size=None: an item of the sampler is already a batch of indices, an item of the dataset a whole batch
        options: dict[str, Any] = {"sampler": sampler, "batch_size": None, "collate_fn": _as_is}
        if self._device.type != "cpu":
            return DeviceLoader(self.dataset, **options)
        # a generator of its own, so that making an iterator does not move the one that dropout draws from
        options |= {"generator": torch.Generator(), "num_workers": self._batches.num_workers}
        return DataLoader(self.dataset, **options, persistent_workers=self._batches.num_workers > 0)


def _as_is(batch: Any) -> Any:
    return batch


def _check_begun(schema: Mapping[str, Any], vocabulary: Vocabulary, sequences: Sequences) -> None:
    for kind, names in {"categorical": sequences.categorical, "numeric": sequences.numeric}.items():
        if list(schema[kind]) != names:
            raise UserError(
                f"the pretrained run has the {kind} fields {', '.join(schema[kind]) or '(none)'}, this one "
                f"{', '.join(names) or '(none)'}: choose the same with sequence.{kind} and sequence.exclude"
            )
    check_schema(
        {"known": [], "static": [], **schema}, token=sequences.token, vocabulary=vocabulary, known=[], static=[]
    )


def _check_fields(store: EventStore, categorical: Sequence[str], numeric: Sequence[str]) -> None:
    for kind, names in {"categorical": categorical, "numeric": numeric}.items():
        if missing := [name for name in names if name not in store.names(kind)]:
            raise UserError(
                f"the run was trained with the {kind} field {missing[0]!r}, which the log lacks; its {kind} fields are "
                f"{', '.join(store.names(kind)) or '(none)'}"
            )
