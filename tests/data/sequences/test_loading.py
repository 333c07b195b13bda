"""DeviceLoader: the batches of a DataLoader, ahead of time from the host, or gathered where the histories lie."""

from typing import Any

import numpy as np
import pytest
import torch
from support import inputs_of, snapshots_of

from clm_dl.data.sequences.inputs import SequenceInputs
from clm_dl.data.sequences.loading import DeviceLoader
from clm_dl.data.store.store import EventStore

META = torch.device("meta")  # of tensors without values


@pytest.fixture(scope="module", params=["order", "line"])
def inputs(small_store: EventStore, request: pytest.FixtureRequest) -> SequenceInputs:
    splits = {"train": ["2020-03-20", "2020-04-20"], "val": ["2020-05-20"], "test": ["2020-06-10"]}
    snapshots = snapshots_of(small_store, horizon_days=20, active_days=90, **splits)
    return inputs_of(small_store, snapshots, token=request.param, max_tokens=8, max_tokens_per_batch=64)


def parts(batch: Any) -> list[torch.Tensor]:
    found = []
    batch._map(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize("num_shapes", [None, 3])
def test_ahead_of_time_come_the_batches_of_a_loader(inputs: SequenceInputs, num_shapes: int | None) -> None:
    inputs.num_shapes = num_shapes
    loader = inputs.train_loader(epoch=2)
    ahead = DeviceLoader(inputs.dataset, sampler=loader.sampler, batch_size=None)
    assert len(ahead) == len(loader) > 5
    for one, other in zip(loader, ahead, strict=True):
        for left, right in zip(parts(one), parts(other), strict=True):
            torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("num_shapes", [None, 3])
def test_histories_on_a_device_give_batches_of_the_same_sizes_there(
    inputs: SequenceInputs, num_shapes: int | None
) -> None:
    inputs.num_shapes = num_shapes
    loader = inputs.train_loader()
    there = DeviceLoader(inputs.dataset.to(META), sampler=loader.sampler, batch_size=None)
    for one, other in zip(loader, there, strict=True):
        for left, right in zip(parts(one), parts(other), strict=True):
            assert (left.shape, left.dtype, META) == (right.shape, right.dtype, right.device)


@pytest.mark.parametrize(("free", "device"), [(10**9, META), (10, torch.device("cpu"))])
def test_histories_move_to_a_device_where_they_fit(
    inputs: SequenceInputs, free: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clm_dl.data.sequences.inputs.fits", lambda dataset, device: dataset.num_bytes <= free)
    assert 1_000 < inputs.dataset.num_bytes < 10**6
    whole, before = inputs.loader(np.arange(20)), inputs.dataset
    inputs.to(META)
    try:
        assert isinstance(inputs.loader(np.arange(20)), DeviceLoader)
        assert {batch.index_B.device for batch in inputs.loader(np.arange(20))} == {device}
        assert not isinstance(whole, DeviceLoader)
    finally:
        inputs.dataset, inputs._device = before, torch.device("cpu")


def test_a_filler_is_nobody(inputs: SequenceInputs) -> None:
    dataset = inputs.dataset
    batch = dataset[np.array([3, len(dataset)]), 9]
    assert batch.mask_BT.shape == (2, 9)
    assert batch.length_B.tolist() == [dataset.lengths[3], 0]
    assert not batch.mask_BT[1].any()
    assert batch.label_B[1].isnan()
    assert torch.isfinite(batch.static_BS[1]).all()
    for offset_N in (offset_N for _, offset_N in batch.bags.values()):
        assert (offset_N[9:] == offset_N[9]).all()
    assert all((ids_BT[1] == 0).all() for ids_BT in batch.categorical.values())


def test_a_thread_that_fails_says_why(inputs: SequenceInputs) -> None:
    with pytest.raises(IndexError):
        list(DeviceLoader(inputs.dataset, sampler=[np.array([10**9])], batch_size=None))
