"""Contrast: the loss equals a plain loop's, slices are those of plain Python, and lie within their history."""

import pytest
import torch
from handmade import make_batch

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.tasks.pretrain.contrast import contrastive_loss, draw_slices, take_slices


def plain(z_MD: torch.Tensor, num: int, margin: float, negatives: int) -> torch.Tensor:
    z_MD = z_MD / z_MD.norm(dim=1, keepdim=True)
    losses = []
    for one in range(len(z_MD)):
        near, far = [], []
        for other in range(len(z_MD)):
            distance = (z_MD[one] - z_MD[other]).norm()
            if other // num == one // num:
                near += [distance] * (other != one)
            else:
                far.append(distance)
        hardest = sorted(far)[:negatives]
        loss = 0.5 * sum(d**2 for d in near) / len(near)
        losses.append(loss + (0.5 * sum(max(0.0, margin - d) ** 2 for d in hardest) / len(hardest) if hardest else 0.0))
    return torch.stack(losses)


@pytest.mark.parametrize(("num", "customers", "negatives"), [(2, 4, 3), (3, 3, 100), (5, 1, 2)])
def test_loss_equals_a_plain_loop(num, customers, negatives):
    z_MD = torch.randn(num * customers, 3, generator=torch.Generator().manual_seed(0))
    found = contrastive_loss(z_MD, num=num, margin=0.8, negatives=negatives)
    torch.testing.assert_close(found, plain(z_MD, num, 0.8, negatives), atol=1e-4, rtol=1e-4)


def test_equal_vectors_lose_half_the_squared_margin_and_have_finite_gradients():
    z_MD = torch.ones(6, 4, requires_grad=True)
    loss_M = contrastive_loss(z_MD, num=2, margin=0.5, negatives=5)
    torch.testing.assert_close(loss_M, torch.full((6,), 0.125), atol=1e-4, rtol=0)
    loss_M.sum().backward()
    assert z_MD.grad is not None
    assert z_MD.grad.isfinite().all()


def test_slices_lie_within_their_history_and_have_the_lengths_asked_for():
    length_B = torch.tensor([1, 3, 30, 200])
    start_M, length_M = draw_slices(length_B, num=400, min_tokens=5, max_tokens=20)
    total_M = length_B.repeat_interleave(400)
    assert (start_M >= 0).all()
    assert (start_M + length_M <= total_M).all()
    assert (length_M >= total_M.clamp(max=5)).all()
    long_M = length_M[total_M == 200]
    assert (long_M.min(), long_M.max()) == (5, 20)
    assert start_M[total_M == 200].max() > 150
    again = draw_slices(length_B, num=5, min_tokens=1, max_tokens=9, generator=torch.Generator().manual_seed(3))
    same = draw_slices(length_B, num=5, min_tokens=1, max_tokens=9, generator=torch.Generator().manual_seed(3))
    assert all(one.equal(other) for one, other in zip(again, same, strict=True))


def tokens(batch: EventBatch, row: int) -> list[tuple]:
    found = []
    for step in range(int(batch.length_B[row])):
        at = row * batch.mask_BT.shape[1] + step
        ids = {name: int(ids_BT[row, step]) for name, ids_BT in batch.categorical.items()}
        ids |= {name: ids_L[offset_N[at] : offset_N[at + 1]].tolist() for name, (ids_L, offset_N) in batch.bags.items()}
        rest = [
            getattr(batch, name)[row, step].item() for name in ("gap_BT", "age_BT", "hour_BT", "weekday_BT", "month_BT")
        ]
        found.append((str(ids), str(batch.numeric_BTF[row, step].tolist()), rest))
    return found


@pytest.mark.parametrize("bags", [False, True])
def test_slices_hold_the_tokens_they_say(bags):
    batch = make_batch(5, 9, bags=bags)
    start_M, length_M = draw_slices(
        batch.length_B, num=3, min_tokens=2, max_tokens=6, generator=torch.Generator().manual_seed(0)
    )
    slices = take_slices(batch, start_M, length_M, max_tokens=6)
    assert slices.mask_BT.sum(1).tolist() == length_M.tolist()
    for row in range(15):
        start, stop = int(start_M[row]), int(start_M[row] + length_M[row])
        assert tokens(slices, row) == tokens(batch, row // 3)[start:stop]
        days = batch.time_BT[row // 3, start:stop]
        torch.testing.assert_close(slices.time_BT[row, : stop - start], days - days[0])
        assert (slices.time_BT[row, stop - start :] == 0).all()
    assert slices.index_B.tolist() == [row // 3 for row in range(15)]
