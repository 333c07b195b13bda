"""SequenceDataModule: vocabulary and schema fitted once on training history, then loaders that make whole batches at a
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from clm_dl.data.sequences.batch import EventBatch, EventDataset
from clm_dl.data.sequences.sampler import TokenBudgetSampler
from clm_dl.data.sequences.schema import check_schema, fit_schema, static_inputs
from clm_dl.data.sequences.tokens import NUM_LINES, Sequences
from clm_dl.data.sequences.vocabulary import Vocabulary
from clm_dl.data.snapshots.calendar import known_future
from clm_dl.data.snapshots.features import history_features
from clm_dl.data.snapshots.snapshots import Snapshots
from clm_dl.data.store.store import EventStore
from clm_dl.errors import UserError


class SequenceDataModule(pl.LightningDataModule):
    """Batches of the histories of `snapshots`.

    Args:
        token, max_tokens, max_lines: one token an order or a line; the last `max_tokens` of a history; lines of an
            order in its bags.
        categorical, numeric, exclude: fields of the store, see `Sequences.from_store`; `exclude` may also name customer
            attributes.
        features: history features (recency, frequency, spend, …; `features.history_features`) enter the head beside the
            sequence.
        vocabulary, schema: of a trained run, applied as they are; both or neither. None = fitted on the training
            snapshots. A schema without "head" is that of a pretraining: the rest is fitted.
        vocabulary_min_count, vocabulary_max_size, vocabulary_fields: see `Vocabulary.fit`.
        batch_size, max_tokens_per_batch: largest number of snapshots and of padded tokens of a batch; either may be
            None.
        calendar: table of known-future covariates, see `calendar.known_future`.
        seed: of the order of the batches.
        targets: float `[N, K]`, NaN unknown: `target_BK` of the batches.

    Attributes:
        vocabulary: the Vocabulary. schema: plain dict, see `schema.fit_schema`.

    Raises:
        ValueError: no training snapshot to fit on, or a schema that does not fit the store.
    """

    def __init__(
        self,
        store: EventStore,
        snapshots: Snapshots,
        *,
        token: str = "order",
        max_tokens: int = 128,
        max_lines: int | None = 64,
        categorical: Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        features: bool = False,
        vocabulary: Vocabulary | None = None,
        schema: Mapping[str, Any] | None = None,
        vocabulary_min_count: int = 1,
        vocabulary_max_size: int | None = 10_000,
        vocabulary_fields: Mapping[str, Mapping[str, Any]] | None = None,
        batch_size: int | None = None,
        max_tokens_per_batch: int | None = 8192,
        num_workers: int = 0,
        pin_memory: bool = False,
        calendar: Mapping[str, Any] | None = None,
        seed: int = 0,
        targets: np.ndarray | None = None,
    ):
        super().__init__()
        if (vocabulary is None) != (schema is None):
            raise UserError(
                "a vocabulary and a schema belong together: give both of a trained run, or neither to fit them"
            )
        # of a pretraining: fields and scales are given, a head's are fitted
        begun = schema is not None and "head" not in schema
        if schema is not None and not begun:  # the fields of the run, whatever else this store may hold
            categorical, numeric, exclude = (
                list(schema["categorical"]),
                [name for name in schema["numeric"] if name != NUM_LINES],
                (),
            )
            _check_fields(store, categorical, numeric)
        static = store.static.drop(columns=[name for name in exclude if name in store.static.columns])
        exclude = [name for name in exclude if name not in store.static.columns or store.has(name)]
        sequences = Sequences.from_store(
            store, token=token, categorical=categorical, numeric=numeric, exclude=exclude, max_lines=max_lines
        )
        if begun and schema is not None and vocabulary is not None:
            _check_begun(schema, vocabulary, sequences)
        known = known_future(calendar, snapshots) if calendar else pd.DataFrame(index=range(len(snapshots)))
        if features:
            table = history_features(store, snapshots, distinct=sequences.categorical)
            known = pd.concat([known, np.sign(table) * np.log1p(table.abs())], axis=1)
        training = snapshots.training
        if vocabulary is None or schema is None or begun:
            if not training.any():
                raise UserError(
                    "there is no labelled training snapshot to fit the vocabulary on: check the cutoffs and the horizon"
                )
            chosen = snapshots.select(training)
            vocabulary = vocabulary or self._fit_vocabulary(
                store,
                sequences.categorical,
                rows=sequences.visible_rows(chosen),
                min_count=vocabulary_min_count,
                max_size=vocabulary_max_size,
                overrides=vocabulary_fields,
            )
            schema = fit_schema(sequences, vocabulary, chosen, known[training], static) | dict(schema or {})
        else:
            check_schema(
                schema, token=token, vocabulary=vocabulary, known=list(known.columns), static=list(static.columns)
            )
        self.vocabulary = vocabulary
        self.schema: dict[str, Any] = dict(schema)
        self.snapshots = snapshots
        self.dataset = EventDataset(
            sequences,
            vocabulary,
            snapshots,
            max_tokens=max_tokens,
            static_CS=static_inputs(schema, static),
            known_NK=np.array(known[list(schema["known"])], dtype=np.float32),
            target_NK=targets,
        )
        self._limits: dict[str, Any] = {"max_tokens": max_tokens_per_batch, "batch_size": batch_size, "seed": seed}
        self._options: dict[str, Any] = {
            "num_workers": num_workers,
            "pin_memory": pin_memory,
            "persistent_workers": num_workers > 0,
        }

    def train_dataloader(self) -> DataLoader[EventBatch]:
        """Labelled training snapshots, shuffled anew each epoch."""
        return self._loader(self._sampler(self._rows("train"), shuffle=True))

    def val_dataloader(self) -> DataLoader[EventBatch]:
        """The snapshots that early stopping looks at."""
        return self.loader(self._rows("val"))

    def test_dataloader(self) -> DataLoader[EventBatch]:
        """Test snapshots, the censored ones included."""
        return self.loader(self._rows("test"))

    def predict_dataloader(self) -> DataLoader[EventBatch]:
        """Every snapshot."""
        return self.loader(np.arange(len(self.snapshots)))

    @property
    def num_training(self) -> int:
        """Rows of the dataset that an epoch of training reads."""
        return len(self._rows("train"))

    def loader(self, index: np.ndarray) -> DataLoader[EventBatch]:
        """Each of these snapshots once, from the longest to the shortest; `index_B` says which is which."""
        return self._loader(self._sampler(np.asarray(index), shuffle=False))

    def padding_ratio(self, split: str = "train") -> float:
        """Padded over real tokens of the batches of one split (train: as in its first epoch; val: the early-stopping
        snapshots).
        """
        return self._sampler(self._rows(split), shuffle=split == "train").padding_ratio()

    def _rows(self, split: str) -> np.ndarray:
        """The rows of the dataset that the loader of a split reads."""
        chosen = {"train": self.snapshots.training, "val": self.snapshots.early_stopping}
        return np.flatnonzero(chosen.get(split, self.snapshots.split == split))

    def _fit_vocabulary(self, store: EventStore, fields: Sequence[str], **options: Any) -> Vocabulary:
        return Vocabulary.fit(store, fields, **options)

    def _sampler(self, index: np.ndarray, *, shuffle: bool) -> TokenBudgetSampler:
        ranks: dict[str, int] = {}
        # processes share the training snapshots; each evaluates all of the others
        if shuffle and self.trainer is not None:
            ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        sampler = TokenBudgetSampler(
            self.dataset.length_N.numpy()[index], index_N=index, shuffle=shuffle, **self._limits, **ranks
        )
        if shuffle and self.trainer is not None:
            # of a resumed run; Lightning makes its first iterator before it says which
            sampler.set_epoch(self.trainer.current_epoch)
        return sampler

    def _loader(self, sampler: TokenBudgetSampler) -> DataLoader[EventBatch]:
        # a generator of its own, so that making an iterator does not move the one that dropout draws from
        # batch_size=None: an item of the sampler is already a batch of indices, an item of the dataset a whole batch
        return DataLoader(
            self.dataset,
            sampler=sampler,
            batch_size=None,
            collate_fn=_as_is,
            generator=torch.Generator(),
            **self._options,
        )


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
