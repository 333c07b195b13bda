"""Losses that rank a target item above the rest of the catalogue; each knows a state, a target and the item tower, nothing else.

Shapes: Q states, P targets (each of one state), V items of the softmax, K negatives shared by the batch, D width.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clm_dl.nn.items import ItemTower

BLOCK = 2**19  # logits worked on at a time by default: 2 MiB stay in a core's cache


class LinearCrossEntropy(torch.autograd.Function):
    """sum_p weight_p · (logsumexp(query · vectorsᵀ) − logit of the target), by blocks of states; logits [Q, V] never exist at once.

    The gradient is worked out with the value while a block's logits are at hand, so that nothing is computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any, query_QD: Tensor, vector_VD: Tensor, row_P: Tensor, column_P: Tensor, weight_P: Tensor, chunk: int, with_grad: bool
    ) -> Tensor:
        num, loss = len(query_QD), weight_P.new_zeros(())
        bound = torch.searchsorted(row_P, torch.arange(0, num + chunk, chunk, device=row_P.device)).tolist()
        weight_Q = weight_P.new_zeros(num).index_add_(0, row_P, weight_P)
        grad_QD = torch.empty_like(query_QD, dtype=torch.float32) if with_grad else None
        grad_VD = torch.zeros_like(vector_VD, dtype=torch.float32) if with_grad else None
        for block, start in enumerate(range(0, num, chunk)):
            part, targets = slice(start, start + chunk), slice(bound[block], bound[block + 1])
            place, weight = (row_P[targets] - start, column_P[targets]), weight_P[targets]
            logit_BV = (query_QD[part] @ vector_VD.T).float()
            highest_B1 = logit_BV.amax(1, keepdim=True)
            logit_BV.sub_(highest_B1)
            target_P = logit_BV[place]
            share_BV = logit_BV.exp_()
            sum_B = share_BV.sum(1)
            loss += weight_Q[part] @ sum_B.log() - weight @ target_P
            if grad_QD is not None and grad_VD is not None:
                share_BV.mul_((weight_Q[part] / sum_B).unsqueeze(1)).index_put_(place, -weight, accumulate=True)
                share_BV = share_BV.to(query_QD.dtype)
                grad_QD[part] = share_BV @ vector_VD
                grad_VD += share_BV.T @ query_QD[part]
        ctx.save_for_backward(grad_QD, grad_VD)
        ctx.dtypes = query_QD.dtype, vector_VD.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_QD, grad_VD = ctx.saved_tensors
        return (grad_QD * grads[0]).to(ctx.dtypes[0]), (grad_VD * grads[0]).to(ctx.dtypes[1]), None, None, None, None, None


def _share(weight_P: Tensor | None, like_P: Tensor) -> Tensor:
    """Weights that sum to one, float32."""
    if weight_P is None:
        return torch.full(like_P.shape, 1.0 / max(1, len(like_P)), device=like_P.device)
    return weight_P.float() / weight_P.float().sum().clamp(min=torch.finfo(torch.float32).tiny)


def softmax(
    h_QD: Tensor,
    item_P: Tensor,
    tower: ItemTower,
    weight_P: Tensor | None = None,
    row_P: Tensor | None = None,
    *,
    chunk: int | None = None,
) -> Tensor:
    """Cross-entropy over the whole catalogue, in nats. `chunk`: states at a time; None takes what fits a cache."""
    vector_VD, column_P = tower.candidates(item_P)
    row_P = torch.arange(len(item_P), device=item_P.device) if row_P is None else row_P
    chunk = chunk or max(1, BLOCK // len(vector_VD))
    return LinearCrossEntropy.apply(tower.query(h_QD), vector_VD, row_P, column_P, _share(weight_P, item_P), chunk, torch.is_grad_enabled())


RANKING_LOSSES: dict[str, Callable[..., Tensor]] = {"softmax": softmax}


def build_ranking_loss(config: Mapping[str, Any]) -> Callable[..., Tensor]:
    """The loss `config["name"]` with the other keys as its options: (h_QD, item_P, tower, weight_P=None, row_P=None) -> scalar.

    item_P are network ids ≥ 2; the loss is the mean over the targets, weighted by `weight_P`. Without `row_P` each state has one
    target (Q = P); with it target p belongs to state row_P[p] (never falling), so that a state with many targets is scored once.
    Raises ValueError for an unknown name or option, naming the nearest valid one.
    """
    options = dict(config)
    name = options.pop("name")
    if name not in RANKING_LOSSES:
        raise ValueError(f"ranking loss must be one of {', '.join(RANKING_LOSSES)}, got {name!r}")
    valid = [key for key, item in inspect.signature(RANKING_LOSSES[name]).parameters.items() if item.kind is item.KEYWORD_ONLY]
    for key in options:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, n=1) or valid
            raise ValueError(f"ranking loss {name} has no option {key!r}; nearest: {', '.join(near)}")
    return partial(RANKING_LOSSES[name], **options)
