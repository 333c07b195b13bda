"""A training step on a device without numbers, which finds out what the host would have to wait for on a GPU."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from clm_dl.data.sequences.batch import EventDataset
from clm_dl.tasks.network import SequenceNetwork

META = torch.device("meta")  # of tensors that have a shape and no values: to read one, or a shape made of one, raises


class NothingTravels(TorchDispatchMode):
    """Refuses to copy a tensor from the host to the device, or to work on both."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        flat = [part for arg in args for part in (arg if isinstance(arg, (list, tuple)) else [arg])]
        found = {tensor.device.type for tensor in flat if isinstance(tensor, torch.Tensor) and tensor.ndim}
        wanted = {torch.device(kwargs["device"]).type} if found and kwargs.get("device") is not None else set()
        assert len(found | wanted) <= 1, f"{func} goes from the host to the device"
        return func(*args, **kwargs)


class NoLists(TorchFunctionMode):
    """Refuses to make a tensor of the device out of Python's numbers, which would be such a copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("tensor", "as_tensor", "new_tensor"):
            assert made.device != META, f"{func} copies from the host to the device"
        return made


def train_on_meta(network: SequenceNetwork, dataset: EventDataset, rows: np.ndarray, *, width: int) -> None:
    """A step as Lightning does it: gather, loss, backward, clipping, optimiser."""
    network, dataset = deepcopy(network).to(META).train(), dataset.to(META)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, foreach=True)
    index_B, sizes = torch.from_numpy(rows).to(META), dataset.sizes(rows, width)
    with NothingTravels(), NoLists():
        batch = dataset.gather(index_B, *sizes)
        loss = network.batch_loss(batch)
        assert loss.shape == ()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    assert all(parameter.grad is not None for parameter in parameters if parameter.numel())
