"""Networks in pure torch: an encoder maps x_BTD, mask_BT to h_BTD, causal, right padding; a new one joins ENCODERS."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from torch import nn

from clm_dl.errors import UserError
from clm_dl.nn.embedding import EventEmbedding
from clm_dl.nn.encoders.convolution import CausalConvolution
from clm_dl.nn.encoders.hstu import HSTU
from clm_dl.nn.encoders.recurrent import GRU, LSTM, RNN
from clm_dl.nn.encoders.running_mean import RunningMean
from clm_dl.nn.encoders.transformer import CausalTransformer
from clm_dl.nn.heads import BinaryHead, HeadFeatures, VectorHead
from clm_dl.nn.pooling import POOLINGS, build_pooling
from clm_dl.options import convert

ENCODERS: dict[str, type[nn.Module]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn": RNN,
    "conv": CausalConvolution,
    "transformer": CausalTransformer,
    "hstu": HSTU,
    "mean": RunningMean,
}

MAY_BE_NONE = ("num_buckets",)  # 0: there is none
WIDEST, MOST_LAYERS = 2**16, 1000

__all__ = [
    "ENCODERS",
    "POOLINGS",
    "BinaryHead",
    "EventEmbedding",
    "HeadFeatures",
    "VectorHead",
    "build_encoder",
    "build_pooling",
    "compile_encoder",
]


def build_encoder(config: Mapping[str, Any], input_size: int) -> nn.Module:
    """The encoder `config["name"]` with the other keys as its options; its `output_size` is the width of h_BTD.

    The key `frozen` is none of its options: it says whether a task trains it.

    Raises ValueError for an unknown name or option, naming the nearest valid one.
    """
    options = dict(config)
    name, _ = options.pop("name"), options.pop("frozen", None)
    if not isinstance(name, str) or name not in ENCODERS:
        raise UserError(f"encoder must be one of {', '.join(ENCODERS)}, got {name!r}")
    valid = list(inspect.signature(ENCODERS[name]).parameters)[1:]
    for key in options:
        if key not in valid:
            near = difflib.get_close_matches(key, valid, n=1) or valid
            raise UserError(f"encoder {name} has no option {key!r}; nearest: {', '.join(near)}")
    kinds = get_type_hints(ENCODERS[name].__init__)
    for key in options:
        value = options[key] = convert(options[key], kinds[key], f"encoder.{key}")
        if kinds[key] is not float and isinstance(value, int) and not isinstance(value, bool):
            least, most = int(key not in MAY_BE_NONE), MOST_LAYERS if key == "num_layers" else WIDEST
            if not least <= value <= most:
                word = f"≥ {least}" if value < least else f"at most {most:,}"
                raise UserError(f"encoder.{key} must be {word}, got {value}")
    if not 0 <= options.get("dropout", 0.0) < 1:
        raise UserError(f"encoder.dropout is a share and must be in [0, 1), got {options['dropout']}")
    return ENCODERS[name](input_size, **options)


def compile_encoder(encoder: nn.Module, backend: Any = "inductor") -> None:
    """Compile the blocks of an encoder, which share what one of them is compiled to, for any batch and length; an
    encoder without blocks as a whole.
    """
    blocks = getattr(encoder, "blocks", None)
    for part in [encoder] if blocks is None else blocks:
        part.compile(dynamic=True, backend=backend)
