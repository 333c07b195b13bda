"""Losses that rank a target item above the rest of the catalogue; each knows a state, a target and the item tower,
nothing else.

Shapes: Q states, P targets (each of one state), V items of the softmax, K negatives shared by the batch, D width.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

import torch
from torch import Tensor
from torch.nn import functional as F

from clm_dl.errors import UserError
from clm_dl.nn.selection import picks_out
from clm_dl.options import convert
from clm_dl.tasks.recommend.tower import FIRST, ItemTower

BLOCK = {"cpu": 2**18}  # logits worked on at a time by default: 1 MiB stays in a core's cache
LARGE_BLOCK, LEAST_STATES = 2**26, 64  # on other devices; and what a matrix product needs to be fast


class LinearCrossEntropy(torch.autograd.Function):
    """sum_p weight_p · (logsumexp(query · vectorsᵀ) − logit of the target), by blocks of states; logits [Q, V] never
    exist at once.

    The gradient is worked out with the value while a block's logits are at hand, so that nothing is computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_QD: Tensor,
        vector_VD: Tensor,
        row_P: Tensor | None,
        column_P: Tensor,
        weight_P: Tensor,
        chunk: int,
        with_grad: bool,
    ) -> Tensor:
        num, loss = len(query_QD), weight_P.new_zeros(())
        bound = list(range(0, num + chunk, chunk))
        apart = row_P is not None and not picks_out(row_P)  # which targets a block has is not known on the host
        if row_P is None:
            row_P = torch.arange(num, device=column_P.device)
        elif not apart:
            bound = torch.searchsorted(row_P, torch.tensor(bound)).tolist()
        weight_Q = weight_P.new_zeros(num).index_add_(0, row_P, weight_P)
        grad_QD = torch.empty_like(query_QD, dtype=torch.float32) if with_grad else None
        grad_VD = torch.zeros_like(vector_VD, dtype=torch.float32) if with_grad else None
        for block, start in enumerate(range(0, num, chunk)):
            part, targets = slice(start, start + chunk), slice(0) if apart else slice(bound[block], bound[block + 1])
            place, weight = (row_P[targets] - start, column_P[targets]), weight_P[targets]
            logit_BV = (query_QD[part] @ vector_VD.T).float()
            share_BV = logit_BV.softmax(1)
            # the largest share cannot underflow, so logsumexp = largest logit − log of it
            loss += (weight_Q[part] * (logit_BV.amax(1) - share_BV.amax(1).log())).sum() - (
                weight * logit_BV[place]
            ).sum()
            if grad_QD is not None and grad_VD is not None:
                share_BV.index_put_(
                    place,
                    -weight / weight_Q[row_P[targets]].clamp(min=torch.finfo(torch.float32).tiny),
                    accumulate=True,
                )
                share_BV, scaled_BD = share_BV.to(query_QD.dtype), query_QD[part] * weight_Q[part].unsqueeze(1)
                torch.mul(share_BV @ vector_VD, weight_Q[part].unsqueeze(1), out=grad_QD[part])
                grad_VD += share_BV.T @ scaled_BD
        if apart:
            state_PD, target_PD = query_QD[row_P].float(), vector_VD[column_P].float()
            loss -= (weight_P * (state_PD * target_PD).sum(1)).sum()
            if grad_QD is not None and grad_VD is not None:
                grad_QD.index_add_(0, row_P, -weight_P.unsqueeze(1) * target_PD)
                grad_VD.index_add_(0, column_P, -weight_P.unsqueeze(1) * state_PD)
        ctx.save_for_backward(grad_QD, grad_VD)
        ctx.dtypes = query_QD.dtype, vector_VD.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_QD, grad_VD = ctx.saved_tensors
        return (
            (grad_QD * grads[0]).to(ctx.dtypes[0]),
            (grad_VD * grads[0]).to(ctx.dtypes[1]),
            None,
            None,
            None,
            None,
            None,
        )


def _share(weight_P: Tensor | None, like_P: Tensor) -> Tensor:
    """Weights that sum to one, float32."""
    if weight_P is None:
        return torch.full(like_P.shape, 1.0 / max(1, len(like_P)), device=like_P.device)
    return weight_P.float() / weight_P.float().sum().clamp(min=torch.finfo(torch.float32).tiny)


def _mean(loss_P: Tensor, weight_P: Tensor | None) -> Tensor:
    return (loss_P * _share(weight_P, loss_P)).sum()


def softmax(
    h_QD: Tensor,
    item_P: Tensor,
    tower: ItemTower,
    weight_P: Tensor | None = None,
    row_P: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Cross-entropy over the whole catalogue, in nats. `chunk`: states at a time; null takes what suits the device."""
    vector_VD, column_P = tower.candidates(item_P)
    chunk = chunk or max(LEAST_STATES, BLOCK.get(h_QD.device.type, LARGE_BLOCK) // len(vector_VD))
    return LinearCrossEntropy.apply(
        tower.query(h_QD), vector_VD, row_P, column_P, _share(weight_P, item_P), chunk, torch.is_grad_enabled()
    )


def sampled_cross_entropy(positive_P: Tensor, negative_PK: Tensor, expected_K: Tensor, hit_PK: Tensor) -> Tensor:
    """−log share of the positive, [P]; each negative stands for 1 / `expected_K` items, `expected_K` of it being in the
    sample on average.

    A negative that is the target itself (`hit_PK`) takes no part and the positive is not corrected, so that the sum
    over the sample is right on average for the sum over all other items (logQ correction: Bengio and Senécal 2008; of
    the negatives only: Khrylchenko et al. 2025). With every item sampled once this is the full softmax.
    """
    logit_PK = (negative_PK.float() - expected_K.log()).masked_fill(hit_PK, -torch.inf)
    positive_P = positive_P.float()
    return torch.logsumexp(torch.cat([positive_P.unsqueeze(1), logit_PK], dim=1), dim=1) - positive_P


def gbce_beta(num_negatives: int, num_items: int, t: float) -> float:
    """Exponent β of the positive's probability: 1 (t = 0) leaves scores overconfident, t = 1 calibrates."""
    if not 0 <= t <= 1:
        raise UserError(f"t of the gBCE loss must be in [0, 1], got {t}")
    share = min(1.0, num_negatives / max(1, num_items - 1))
    return 1.0 - t * (1.0 - share)


def generalised_binary_cross_entropy(positive_P: Tensor, negative_PK: Tensor, hit_PK: Tensor, *, beta: float) -> Tensor:
    """β·softplus(−s⁺) + Σ softplus(s⁻), [P] (Petrov and Macdonald 2023, gSASRec); closed form, so float32 will do."""
    return beta * F.softplus(-positive_P.float()) + F.softplus(negative_PK.float()).masked_fill(hit_PK, 0.0).sum(1)


def _draw(tower: ItemTower, num: int, power: float) -> tuple[Tensor, Tensor]:
    """Ids [num] drawn with replacement ∝ (training lines)^power, and how often each is expected; never cold items."""
    if num < 1:
        raise UserError(f"num_negatives must be at least 1, got {num}")
    weight_W = tower.count[tower.warm - FIRST].float() ** power
    place_K = torch.multinomial(weight_W, num, replacement=True)
    return tower.warm[place_K], num * weight_W[place_K] / weight_W.sum()


def _scores(
    h_QD: Tensor, item_P: Tensor, tower: ItemTower, ids_K: Tensor, row_P: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of the targets [P] and of the shared negatives [P, K], and where a negative is the target [P, K]."""
    query_QD = tower.query(h_QD)
    negative_PK = query_QD @ tower.vectors(ids_K).T
    query_PD = query_QD
    if row_P is not None:
        query_PD, negative_PK = query_QD[row_P], negative_PK[row_P]
    return (query_PD * tower.vectors(item_P)).sum(1), negative_PK, item_P.unsqueeze(1) == ids_K


def sampled_softmax(
    h_QD: Tensor,
    item_P: Tensor,
    tower: ItemTower,
    weight_P: Tensor | None = None,
    row_P: Tensor | None = None,
    *,
    num_negatives: int = 256,
    logq: bool = True,
    popularity_power: float = 0.5,
) -> Tensor:
    """Softmax over the target and negatives drawn ∝ popularity^power; `logq: false` leaves the draw uncorrected."""
    ids_K, expected_K = _draw(tower, num_negatives, popularity_power)
    expected_K = expected_K if logq else torch.ones_like(expected_K)
    positive_P, negative_PK, hit_PK = _scores(h_QD, item_P, tower, ids_K, row_P)
    return _mean(sampled_cross_entropy(positive_P, negative_PK, expected_K, hit_PK), weight_P)


def in_batch(
    h_QD: Tensor,
    item_P: Tensor,
    tower: ItemTower,
    weight_P: Tensor | None = None,
    row_P: Tensor | None = None,
    *,
    mixed: int = 256,
) -> Tensor:
    """Softmax over the items of the batch's targets and `mixed` uniform ones (Yang et al. 2020), each item once.

    An item is corrected by its chance to be among them: 1 − (1 − popularity)^P · (1 − 1/W)^mixed.
    """
    share_V = tower.count.clamp(min=1).double()
    share_V = share_V / share_V.sum()
    uniform_K = tower.warm[torch.randint(len(tower.warm), (mixed,), device=item_P.device)]
    if picks_out(item_P):
        num_P: Tensor | int = len(item_P)
        ids_K, left_K = torch.cat([item_P, uniform_K]).unique(), None
    else:
        num_P = len(item_P) if weight_P is None else (weight_P > 0).sum()
        # what is no target stands for an item that was drawn
        drawn_P = item_P if weight_P is None else torch.where(weight_P > 0, item_P, uniform_K[0])
        ids_K, left_K = _distinct(torch.cat([drawn_P, uniform_K]), most=tower.num_items)
    missed_K = num_P * torch.log1p(-share_V[ids_K - FIRST]) + mixed * math.log1p(-1 / max(2, len(tower.warm)))
    expected_K = (-torch.expm1(missed_K)).float()
    positive_P, negative_PK, hit_PK = _scores(h_QD, item_P, tower, ids_K, row_P)
    hit_PK = hit_PK if left_K is None else hit_PK | left_K
    return _mean(sampled_cross_entropy(positive_P, negative_PK, expected_K, hit_PK), weight_P)


def _distinct(ids: Tensor, *, most: int) -> tuple[Tensor, Tensor]:
    """(ids_K, left_K): each of these ids once, then places that are left, which hold one of them. No more than `most`
    differ.
    """
    ids, num = ids.sort().values, min(len(ids), most)
    first = torch.cat([ids.new_ones(1, dtype=torch.bool), ids.diff() > 0])
    place = torch.where(first, first.cumsum(0) - 1, num)
    ids_K = ids[:1].repeat(num + 1).scatter(0, place, ids)[:num]
    return ids_K, torch.arange(num, device=ids.device) >= first.sum()


def gbce(
    h_QD: Tensor,
    item_P: Tensor,
    tower: ItemTower,
    weight_P: Tensor | None = None,
    row_P: Tensor | None = None,
    *,
    num_negatives: int = 256,
    t: float = 0.75,
) -> Tensor:
    """Generalised binary cross-entropy with uniform negatives; t = 0 and one negative is SASRec's own loss."""
    ids_K, _ = _draw(tower, num_negatives, 0.0)
    beta = gbce_beta(num_negatives, tower.num_items, t)
    return _mean(generalised_binary_cross_entropy(*_scores(h_QD, item_P, tower, ids_K, row_P), beta=beta), weight_P)


def bpr(
    h_QD: Tensor,
    item_P: Tensor,
    tower: ItemTower,
    weight_P: Tensor | None = None,
    row_P: Tensor | None = None,
    *,
    num_negatives: int = 256,
) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009): mean of softplus(s⁻ − s⁺) over uniform negatives."""
    ids_K, _ = _draw(tower, num_negatives, 0.0)
    positive_P, negative_PK, hit_PK = _scores(h_QD, item_P, tower, ids_K, row_P)
    loss_PK = F.softplus(negative_PK.float() - positive_P.float().unsqueeze(1)).masked_fill(hit_PK, 0.0)
    return _mean(loss_PK.sum(1) / (~hit_PK).sum(1).clamp(min=1), weight_P)


RANKING_LOSSES: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax,
    "sampled_softmax": sampled_softmax,
    "in_batch": in_batch,
    "gbce": gbce,
    "bpr": bpr,
}


def build_ranking_loss(config: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The loss `config["name"]` with the other keys as its options: (h_QD, item_P, tower, weight_P=None, row_P=None) ->
    scalar.

    item_P are network ids ≥ 2; the loss is the mean over the targets, weighted by `weight_P`. Without `row_P` each
    state has one target (Q = P); with it target p belongs to state row_P[p] (never falling), so that a state with many
    targets is scored once. Raises ValueError for an unknown name or option, naming the nearest valid one.
    """
    options = dict(config)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in RANKING_LOSSES:
        raise UserError(f"ranking loss must be one of {', '.join(RANKING_LOSSES)}, got {name!r}")
    valid = [
        key
        for key, item in inspect.signature(RANKING_LOSSES[name]).parameters.items()
        if item.kind is item.KEYWORD_ONLY
    ]
    for key in options:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, n=1) or valid
            raise UserError(f"ranking loss {name} has no option {key!r}; nearest: {', '.join(near)}")
    kinds = get_type_hints(RANKING_LOSSES[name])
    for key in options:
        options[key] = convert(options[key], kinds[key], f"task.loss.{key}")
    if options.get("num_negatives", 1) < 1:
        raise UserError(f"task.loss.num_negatives must be at least 1, got {options['num_negatives']}")
    if not 0 <= options.get("t", 0) <= 1:
        raise UserError(f"task.loss.t must be in [0, 1], got {options['t']}")
    return partial(RANKING_LOSSES[name], **options)
