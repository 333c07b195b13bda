"""SequenceNetwork: the pure torch part of every task, from a batch to vectors, answers and losses.

Shapes: B snapshots, T events (tokens), D width, E head features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.nn import EventEmbedding, HeadFeatures, build_encoder, build_pooling
from clm_dl.tasks.options import NetworkOptions, PooledOptions
from clm_dl.tasks.processes import gathered, share
from clm_dl.tasks.question import Question


class SequenceNetwork(nn.Module, ABC):
    """What a customer's sequence is turned into; subclasses build their parts and give the loss and the validation
    metrics.

    Args:
        schema: what the batches hold and how to scale it (`SequenceInputs.schema`), a plain dict.
        encoder: `{"name": "lstm", …}`, see `configs/encoder`.
        options: the group `task`. seed: of what is random in validation.
    """

    encoder: nn.Module

    def __init__(
        self, schema: Mapping[str, Any], *, encoder: Mapping[str, Any], options: NetworkOptions, seed: int = 0
    ) -> None:
        super().__init__()
        self.schema, self.encoder_options, self.options, self.seed = dict(schema), dict(encoder), options, seed

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Plain data that this network can be made from again, so that a checkpoint loads without any configuration."""
        plain = {"schema": self.schema, "encoder": self.encoder_options, "task": _plain(asdict(self.options))}
        return {**plain, "seed": self.seed}

    @property
    def name(self) -> str:
        """Of its task."""
        return self.options.name

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @abstractmethod
    def embed(self, batch: EventBatch) -> Tensor:
        """Customer vectors `z_BD` as of each snapshot's cutoff."""

    @abstractmethod
    def batch_loss(self, batch: EventBatch) -> Tensor:
        """The training loss of a batch, a scalar."""

    @abstractmethod
    def undecayed(self) -> list[nn.Parameter]:
        """Matrices that weight decay leaves alone: tables of embeddings."""

    @abstractmethod
    def validate(self, batch: EventBatch) -> Any:
        """What `judge` needs of a validation batch."""

    @abstractmethod
    def judge(self, found: list[Any]) -> dict[str, Tensor | float]:
        """Validation metrics of a whole epoch, never a mean of batches; `found` is what `validate` gave of each."""

    def answer(self, name: str, batch: EventBatch) -> Tensor:
        """What is told of the question `name`, float32, by a network that has a head for it."""
        raise TypeError(f"{type(self).__name__} answers no questions")

    def scalars(self) -> dict[str, Tensor]:
        """What is logged once an epoch beside the validation metrics, by tag."""
        return {}


class PooledNetwork(SequenceNetwork):
    """The parts that make a customer's vector, and that `init` hands on: embedding → encoder → pooling."""

    pretrained = ("embedding", "encoder", "pooling")
    options: PooledOptions

    def build_vector(self) -> None:
        """Make the parts; `encoder["frozen"]` keeps them as they are, random or pretrained."""
        options = self.options
        self.embedding = EventEmbedding(self.schema, dropout=options.dropout, **asdict(options.embedding))
        self.encoder = build_encoder(self.encoder_options, self.embedding.output_size)
        self.pooling = build_pooling(options.pooling, size=width(self.encoder))
        if self.encoder_options.get("frozen"):
            for name in self.pretrained:
                self.get_submodule(name).requires_grad_(False)

    def undecayed(self) -> list[nn.Parameter]:
        return list(self.embedding.tables)

    def states(self, batch: EventBatch) -> Tensor:
        """`h_BTD`: what the encoder knows after each token."""
        h_BTD: Tensor = self.encoder(self.embedding(batch), batch.mask_BT, batch.time_BT)
        return h_BTD

    def embed(self, batch: EventBatch) -> Tensor:
        z_BD: Tensor = self.pooling(self.states(batch), batch.mask_BT)
        return z_BD


class SnapshotNetwork(PooledNetwork):
    """A head on the pooled sequence and the facts known at the cutoff: one answer a snapshot to one question."""

    def __init__(self, question: Question, schema: Mapping[str, Any], **options: Any) -> None:
        super().__init__(schema, **options)
        self.question = question
        self.build_vector()
        self.head_features = HeadFeatures(schema, bounded_recency=question.bounded_recency)
        self.head = question.head(width(self.pooling), width(self.head_features))

    def forward(self, batch: EventBatch) -> Tensor:
        output: Tensor = self.head(self.embed(batch), self.head_features(batch))
        return output

    def answer(self, name: str, batch: EventBatch) -> Tensor:
        """The answer to the question `name`, which is the only one."""
        return self.question.answer(self(batch))

    def batch_loss(self, batch: EventBatch) -> Tensor:
        return self.question.loss(self(batch), self.question.truth(batch))

    def validate(self, batch: EventBatch) -> tuple[Tensor, Tensor]:
        return self(batch).float(), self.question.truth(batch)

    def judge(self, found: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor | float]:
        output, truth = (torch.cat(part) for part in zip(*found, strict=True))
        return dict(self.question.metrics(output, truth))


def width(part: nn.Module) -> int:
    """Output width of a part of a network."""
    assert isinstance(part.output_size, int)
    return part.output_size


@torch.inference_mode()
def apply(
    network: SequenceNetwork, inputs: SequenceInputs, rows: np.ndarray, function: Callable[[EventBatch], Tensor]
) -> np.ndarray:
    """What `function` says of batches, in eval mode, for `rows` of the dataset in that order: float32 `[rows, …]`.

    Processes that work together share the rows, and each gets all of the answer.
    """
    network.eval()
    parts, order = [], []
    for batch in inputs.loader(rows, **share()):
        parts.append(function(batch.to(network.device)).float().cpu())
        order.append(batch.index_B.cpu())
    found = gathered((torch.cat(parts), torch.cat(order)))
    values, index = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    position = np.empty(len(inputs.snapshots), dtype=np.int64)
    position[index] = np.arange(len(values))  # batches are sorted by length
    return values[position[rows]]


def customer_vectors(network: SequenceNetwork, inputs: SequenceInputs, rows: np.ndarray) -> np.ndarray:
    """Vectors `[N, D]` of the snapshots `rows`, in that order."""
    return apply(network, inputs, rows, network.embed)


def _plain(value: Any) -> Any:
    """Tuples as lists, as a configuration has them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
