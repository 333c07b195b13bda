"""Question: what is asked of a customer's vector, apart from the network that hears it: head, truth, loss, answer.

Shapes: B snapshots, D width, E head features, K targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.nn import VectorHead


class Question(ABC):
    """One question; a network is asked one or several of the same vector.

    Args:
        columns: which of `target_BK` are its truth, where there are targets of several questions.

    Attributes:
        num_outputs: of its head.
        monitor: that of its validation metrics which picks the best epoch, the lowest being the best.
        bounded_recency: whether a recency beyond training's counts as its edge, see HeadFeatures.
    """

    monitor: str
    num_outputs: int
    bounded_recency = False

    def __init__(self, *, head_size: int, dropout: float, columns: slice = slice(None)) -> None:
        self.head_size, self.dropout, self.columns = head_size, dropout, columns

    def head(self, size: int, extra_size: int) -> nn.Module:
        """z_BD, extra_BE -> output."""
        return VectorHead(
            size, num_outputs=self.num_outputs, extra_size=extra_size, hidden_size=self.head_size, dropout=self.dropout
        )

    def truth(self, batch: EventBatch) -> Tensor:
        """What the output is held against, NaN unknown."""
        return batch.target_BK[:, self.columns]

    @abstractmethod
    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        """The training loss, a scalar."""

    @abstractmethod
    def answer(self, output: Tensor) -> Tensor:
        """What is told of an output, float32."""

    @abstractmethod
    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Validation metrics of a whole epoch, among them `monitor`."""
