"""Whether a loss picks out what counts, or keeps everything and gives the rest a weight of 0."""

from __future__ import annotations

from torch import Tensor


def picks_out(tensor: Tensor) -> bool:
    """Whether to gather what counts: that is less work on a CPU, where its number is at hand.

    Any other device would have to be asked for the number, and the host, which is to have the next step ready, would
    wait for it.
    """
    return tensor.device.type == "cpu"
