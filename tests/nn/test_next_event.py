"""NextEventHead: losses equal plain Python's, for lines and for orders; the marginals are the best constant; the future
is not seen.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clm_dl.data.sequences.batch import EventBatch
from clm_dl.nn.embedding import UNKNOWN
from clm_dl.nn.next_event import NextEventHead


def plain(head: NextEventHead, h_BTD: torch.Tensor, batch: EventBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """A loop over customers, tokens and lines."""
    num, length = batch.mask_BT.shape
    sums, counts = torch.zeros(num, len(head.names)), torch.zeros(num, len(head.names))
    for row in range(num):
        for step in range(length - 1):
            if not batch.mask_BT[row, step + 1]:
                continue
            for place, name in enumerate(head.fields):
                if batch.bags:
                    ids, offsets = batch.bags[name]
                    at = row * length + step + 1
                    values = ids[offsets[at] : offsets[at + 1]].tolist()
                else:
                    values = [int(batch.categorical[name][row, step + 1])]
                values = [value for value in values if value > UNKNOWN]
                if values:
                    log_p = head.logits[place](h_BTD[row, step]).log_softmax(0)
                    sums[row, place] -= sum(log_p[value] for value in values) / len(values)
                    counts[row, place] += 1
            raw = [batch.gap_BT[row, step + 1], *(v.sign() * v.abs().log1p() for v in batch.numeric_BTF[row, step + 1])]
            for number, value in enumerate(raw):
                if not value.isnan():
                    scaled = ((value - head.scale.center_F[number]) / head.scale.scale_F[number]).clamp(-5, 5)
                    error = (head.numbers(h_BTD[row, step])[number] - scaled).abs()
                    place = len(head.fields) + number
                    sums[row, place] += 0.5 * error**2 if error < 1 else error - 0.5
                    counts[row, place] += 1
    return sums, counts


@pytest.mark.parametrize("bags", [False, True])
def test_losses_equal_a_plain_loop(schema, make_batch, fixed_init, bags):
    batch = make_batch(6, 7, bags=bags)
    head = fixed_init(NextEventHead(4, {**schema, "bags": bags}))
    h_BTD = torch.randn(6, 7, 4, generator=torch.Generator().manual_seed(1))
    found, expected = head(h_BTD, batch), plain(head, h_BTD, batch)
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[0], expected[0])
    assert (found[1].sum(0) > 0).all()
    assert head.names == ("type", "dept.name", "time_gap", "amount", "num_lines")


@pytest.mark.parametrize("bags", [False, True])
def test_padding_and_the_first_token_are_no_target(schema, make_batch, fixed_init, bags):
    batch = make_batch(6, 7, bags=bags)
    head = fixed_init(NextEventHead(4, {**schema, "bags": bags}))
    h_BTD = torch.randn(6, 7, 4, generator=torch.Generator().manual_seed(1))
    outside = ~batch.mask_BT
    outside[:, 0] = True
    changed = replace(
        batch,
        numeric_BTF=batch.numeric_BTF.masked_fill(outside.unsqueeze(-1), 99.0),
        gap_BT=batch.gap_BT.masked_fill(outside, 9.0),
        categorical={name: torch.where(torch.arange(7) == 0, 2, ids) for name, ids in batch.categorical.items()},
    )
    for one, other in zip(head(h_BTD, batch), head(h_BTD, changed), strict=True):
        assert one.equal(other)


def test_marginals_are_the_best_that_can_be_said_of_everyone(schema, make_batch):
    batches = [make_batch(16, 12, bags=True, seed=seed) for seed in range(4)]
    head = NextEventHead(1, {**schema, "bags": True})
    head.fit_marginals(batches)

    def mean() -> torch.Tensor:
        sums, counts = zip(*[head(torch.zeros(16, 12, 1), batch) for batch in batches], strict=True)
        return sum(part.sum(0) for part in sums) / sum(part.sum(0) for part in counts)

    best = mean()
    count = torch.zeros(30)
    for batch in batches:
        *_, ids_L, share_L = head.lines("type", batch)
        count.index_add_(0, ids_L, share_L)
    share = count[2:] / count.sum()
    entropy = -(share * share.clamp(min=1e-9).log()).sum()
    assert best[0].item() == pytest.approx(entropy.item(), abs=0.02)  # the entropy, but for the smoothing
    with torch.no_grad():
        for number in range(3):
            for step in (-0.05, 0.05):
                head.numbers.bias[number] += step
                assert mean()[2 + number] > best[2 + number]
                head.numbers.bias[number] -= step


def test_a_field_without_a_target_has_no_loss_and_finite_gradients(schema, make_batch):
    batch = make_batch(3, 5)
    batch = replace(
        batch,
        numeric_BTF=torch.full_like(batch.numeric_BTF, math.nan),
        categorical={"type": batch.mask_BT.long(), "dept.name": batch.mask_BT.long()},
    )
    head = NextEventHead(4, schema)
    h_BTD = torch.randn(3, 5, 4, requires_grad=True)
    sums, counts = head(h_BTD, batch)
    assert counts.sum(0).tolist()[:2] + counts.sum(0).tolist()[3:] == [0, 0, 0, 0]
    sums.sum().backward()
    assert h_BTD.grad is not None
    assert h_BTD.grad.isfinite().all()
    assert F.relu(-sums).sum() == 0
