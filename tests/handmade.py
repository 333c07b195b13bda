"""A batch of events made by hand, and the schema that it is of: for tests of networks and what they are built of."""

import math

import torch
from torch import Tensor

from clm_dl.data.sequences.batch import EventBatch

SCHEMA = {
    "categorical": {"type": 30, "dept.name": 5},
    "bags": False,
    "numeric": {"amount": {"center": 2.0, "scale": 1.5}, "num_lines": {"center": 1.0, "scale": 0.0}},
    "time": {"gap": {"center": 1.0, "scale": 1.0}, "age": {"center": 4.0, "scale": 2.0}},
    "head": {
        "recency": {"center": 2.0, "scale": 1.0},
        "tenure": {"center": 4.0, "scale": 1.0},
        "income": {"center": 3.0, "scale": 2.0},
    },
    "known": {"holidays": {"center": 0.0, "scale": 1.0}},
}


def make_batch(
    num: int = 16, length: int = 10, *, bags: bool = False, empty: bool = False, seed: int = 0
) -> EventBatch:
    """A random batch of SCHEMA; with `bags` every event holds 0 to 3 values, with `empty` the last row has no event."""
    generator = torch.Generator().manual_seed(seed)
    length_B = torch.randint(1, length + 1, (num,), generator=generator)
    length_B[0] = length
    if empty:
        length_B[-1] = 0
    mask_BT = torch.arange(length) < length_B.unsqueeze(1)

    def ids(count: int) -> Tensor:
        return torch.randint(1, count, (num, length), generator=generator) * mask_BT

    numeric_BTF = torch.randn(num, length, 2, generator=generator).exp() * 10
    numeric_BTF[torch.rand(num, length, 2, generator=generator) < 0.2] = math.nan
    day_BT = torch.randint(0, 20, (num, length), generator=generator).cumsum(1).float() * mask_BT
    batch = EventBatch(
        categorical={} if bags else {name: ids(count) for name, count in SCHEMA["categorical"].items()},
        bags={},
        numeric_BTF=numeric_BTF * mask_BT.unsqueeze(-1),
        gap_BT=day_BT.diff(dim=1, prepend=day_BT[:, :1]).clamp(min=0).log1p(),
        age_BT=day_BT.log1p(),
        hour_BT=torch.randint(0, 24, (num, length), generator=generator) * mask_BT,
        weekday_BT=torch.randint(0, 7, (num, length), generator=generator) * mask_BT,
        month_BT=torch.randint(0, 12, (num, length), generator=generator) * mask_BT,
        time_BT=day_BT,
        mask_BT=mask_BT,
        length_B=length_B,
        recency_B=torch.rand(num, generator=generator) * 4,
        tenure_B=torch.rand(num, generator=generator) * 6,
        static_BS=torch.where(torch.rand(num, 1, generator=generator) < 0.5, math.nan, torch.ones(num, 1)),
        known_BK=torch.randn(num, 1, generator=generator),
        label_B=(torch.arange(num) % 2).float(),
        target_BK=torch.zeros(num, 0),
        index_B=torch.arange(num),
    )
    if bags:
        count_N = torch.randint(0, 4, (num * length,), generator=generator) * mask_BT.flatten()
        offset_N = torch.cat([torch.zeros(1, dtype=torch.long), count_N.cumsum(0)])
        for name, size in SCHEMA["categorical"].items():
            batch.bags[name] = (torch.randint(1, size, (int(offset_N[-1]),), generator=generator), offset_N)
    return batch
