"""Question: what is asked of a customer's vector, apart from the network that hears it: outputs, truth, loss, answer.

Shapes: B snapshots, D width, E head features, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.nn import VectorHead


class Question:
    """One question; a task asks one or several of the same vector.

    Args:
        task: the group `configs/task`: the options of the question, among others.
        schema: of the batches, see `SequenceTask`.
        columns: which of `target_BK` are its truth, where there are targets of several questions.

    Attributes:
        num_outputs: of its head.
        monitor: that of its validation metrics which picks the best epoch, the lowest being the best.
        bounded_recency: whether a recency beyond training's counts as its edge, see HeadFeatures.
    """

    name: str
    monitor: str
    num_outputs: int
    bounded_recency = False

    def __init__(self, task: Mapping[str, Any], schema: Mapping[str, Any], *, columns: slice = slice(None)) -> None:
        self.task = dict(task)
        self.columns = columns

    def head(self, size: int, extra_size: int) -> nn.Module:
        """z_BD, extra_BE -> output."""
        options = {"hidden_size": self.task["head_size"], "dropout": self.task["dropout"]}
        return VectorHead(size, num_outputs=self.num_outputs, extra_size=extra_size, **options)

    def truth(self, batch: EventBatch) -> Tensor:
        """What the output is held against, NaN unknown."""
        return batch.target_BK[:, self.columns]

    def loss(self, output: Tensor, truth: Tensor) -> Tensor:
        """The training loss, a scalar."""
        raise TypeError(f"{type(self).__name__} must define loss")

    def answer(self, output: Tensor) -> Tensor:
        """What is told of an output, float32."""
        raise TypeError(f"{type(self).__name__} must define answer")

    def metrics(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Validation metrics of a whole epoch, among them `monitor`."""
        raise TypeError(f"{type(self).__name__} must define metrics")
