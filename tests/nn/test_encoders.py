"""One contract over every encoder and pooling of the registry: padding, the future and batch-mates change nothing."""

import inspect
import io
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

from clm_dl.config import CONFIG_DIR, compose, plain
from clm_dl.nn import (
    ENCODERS,
    POOLINGS,
    BinaryHead,
    EventEmbedding,
    HeadFeatures,
    build_encoder,
    build_pooling,
    compile_encoder,
)
from clm_dl.nn.encoders.hstu import time_bucket

SIZE = 6
PUSH = 3.0 * torch.arange(SIZE).cos()  # a change that a layer norm does not undo
SASREC = {"name": "transformer", "num_heads": 1, "feedforward_size": 64, "activation": "relu", "positions": "learned"}
ESASREC = {"name": "transformer", "num_heads": 1, "activation": "swiglu", "positions": "learned", "gated": True}
BERT4REC = {"name": "transformer", "num_heads": 2, "positions": "learned", "causal": False}
VARIANTS = [
    *({"name": name} for name in ENCODERS),
    SASREC,
    ESASREC,
    BERT4REC,
    {"name": "lstm", "num_layers": 2, "layer_norm": True, "projection_size": 5},
    {"name": "transformer", "positions": "time"},
    {"name": "transformer", "positions": "none", "activation": "swiglu"},
    {"name": "conv", "num_layers": 2, "kernel_size": 2},
    {"name": "hstu", "num_buckets": 0, "max_positions": 5},
    {"name": "hstu", "hidden_size": SIZE},  # no input map
    {**SASREC, "hidden_size": SIZE},
]


@pytest.fixture(params=VARIANTS, ids=lambda config: "-".join(str(value) for value in config.values()))
def encoder(request) -> nn.Module:
    torch.manual_seed(0)
    return build_encoder(request.param, SIZE).eval()


@pytest.fixture(params=POOLINGS)
def pooling(request) -> str:
    return request.param


class Network(nn.Module):
    """Embedding, encoder, pooling and head put together as a task does."""

    def __init__(self, schema: dict, encoder: str, pooling: str, **options: object) -> None:
        super().__init__()
        self.embedding = EventEmbedding(schema)
        self.encoder = build_encoder({"name": encoder, **options}, self.embedding.output_size)
        self.pooling = build_pooling(pooling, self.encoder.output_size)
        self.features = HeadFeatures(schema)
        self.head = BinaryHead(self.pooling.output_size, extra_size=self.features.output_size, dropout=0.0)

    def forward(self, batch: object) -> Tensor:
        h_BTD = self.encoder(self.embedding(batch), batch.mask_BT, batch.time_BT)
        return self.head(self.pooling(h_BTD, batch.mask_BT), self.features(batch))


def append_padding(x_BTD: Tensor, mask_BT: Tensor, time_BT: Tensor, num: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    junk_BTD = torch.full((len(x_BTD), num, x_BTD.shape[-1]), 9.0)  # what stands at padding must not matter
    return torch.cat([x_BTD, junk_BTD], 1), nn.functional.pad(mask_BT, (0, num)), nn.functional.pad(time_BT, (0, num))


def test_there_are_encoders():
    assert {"lstm", "gru", "rnn", "conv", "transformer", "mean"} <= ENCODERS.keys()


def test_output_shape_and_zeros_at_padding(encoder, make_input):
    x_BTD, mask_BT, time_BT = make_input()
    h_BTD = encoder(x_BTD, mask_BT, time_BT)
    assert h_BTD.shape == (*mask_BT.shape, encoder.output_size)
    assert (h_BTD[~mask_BT] == 0).all()
    assert h_BTD[mask_BT].abs().min() > 0


def test_padding_changes_nothing(encoder, pooling, make_input):
    pool = build_pooling(pooling, encoder.output_size)
    x_BTD, mask_BT, time_BT = make_input()
    longer = append_padding(x_BTD, mask_BT, time_BT)
    h_BTD, padded_BTD = encoder(x_BTD, mask_BT, time_BT), encoder(*longer)
    assert_close(padded_BTD[:, : x_BTD.shape[1]], h_BTD, atol=1e-6, rtol=0)
    assert_close(pool(padded_BTD, longer[1]), pool(h_BTD, mask_BT), atol=1e-6, rtol=0)


def test_future_changes_nothing_and_past_does(encoder, make_input):
    x_BTD, mask_BT, time_BT = make_input(num=2, length=12)
    mask_BT = torch.ones_like(mask_BT)
    before = encoder(x_BTD, mask_BT, time_BT)
    if not getattr(encoder, "causal", True):
        later_BTD = x_BTD.clone()
        later_BTD[:, -1] += PUSH
        assert (
            (encoder(later_BTD, mask_BT, time_BT) - before).abs().amax(-1) > 1e-5
        ).all()  # every token sees the last
        return
    for now in (0, 4, 10):
        changed_BTD, later_BT = x_BTD.clone(), time_BT.clone()
        changed_BTD[:, now + 1 :] += PUSH
        later_BT[:, now + 1 :] += 50.0
        after = encoder(changed_BTD, mask_BT, later_BT)
        assert_close(after[:, : now + 1], before[:, : now + 1], atol=1e-6, rtol=0)
        assert (after[:, now + 1] - before[:, now + 1]).abs().max() > 1e-4
    first_BTD = x_BTD.clone()
    first_BTD[:, 0] += PUSH
    moved_BTD = (encoder(first_BTD, mask_BT, time_BT) - before).abs()
    assert moved_BTD[:, 2].max() > 1e-5  # and it has a memory


def test_batch_mates_change_nothing(encoder, pooling, make_input):
    pool = build_pooling(pooling, encoder.output_size)
    x_BTD, mask_BT, time_BT = make_input(num=4)
    together = pool(encoder(x_BTD, mask_BT, time_BT), mask_BT)
    for row in range(4):
        length = int(mask_BT[row].sum())
        one = (x_BTD[row : row + 1, :length], mask_BT[row : row + 1, :length], time_BT[row : row + 1, :length])
        assert_close(pool(encoder(*one), one[1])[0], together[row], atol=1e-6, rtol=0)


def test_order_matters_unless_it_is_the_mean(encoder, make_input):
    x_BTD, mask_BT, time_BT = make_input(num=1)
    changed = (encoder(x_BTD.flip(1), mask_BT, time_BT) - encoder(x_BTD, mask_BT, time_BT))[:, -1].abs().max()
    if isinstance(encoder, ENCODERS["mean"]):
        assert changed < 1e-6
    else:
        assert changed > 1e-4


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("bags", [False, True])
def test_every_parameter_gets_a_finite_gradient(name, pooling, bags, schema, make_batch):
    torch.manual_seed(0)
    network = Network(schema | {"bags": bags}, name, pooling)
    batch = make_batch(bags=bags, empty=True)  # one row is all padding
    binary_cross_entropy_with_logits(network(batch), batch.label_B).backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.isfinite().all(), label
        assert parameter.grad.abs().max() > 0, label


@pytest.mark.parametrize("name", ENCODERS)
def test_first_loss_is_ln_2_and_one_batch_is_learnt(name, pooling, schema, make_batch):
    torch.manual_seed(0)
    network, batch = Network(schema, name, pooling, dropout=0.0), make_batch()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = binary_cross_entropy_with_logits(network(batch), batch.label_B)
        losses.append(loss.item())
        if losses[-1] < 1e-2:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < 1e-2


@pytest.mark.parametrize("name", ENCODERS)
def test_bfloat16_autocast_is_finite_and_near(name, pooling, schema, make_batch):
    torch.manual_seed(0)
    network, batch = Network(schema, name, pooling), make_batch(empty=True)
    network.eval()
    nn.init.normal_(network.head.output.weight)
    with torch.autocast("cpu", torch.bfloat16):
        logit_B = network(batch)
        loss = binary_cross_entropy_with_logits(logit_B, batch.label_B)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert_close(logit_B.float(), network(batch), atol=0.15, rtol=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor"
)  # torch's own, where it breaks the graph around nn.LSTM
@pytest.mark.parametrize("name", ENCODERS)
def test_compiles(name, schema, make_batch):
    torch.manual_seed(0)
    network = Network(schema | {"bags": True}, name, "attention").eval()
    batches, frames = [make_batch(6, 11, bags=True), make_batch(9, 7, bags=True)], []
    expected = [network(batch) for batch in batches]
    counter = CompileCounterWithBackend("aot_eager")  # forward and backward, without the C++ compiler
    compile_encoder(network.encoder, counter)
    for batch, logit_B in zip(batches, expected, strict=True):
        found_B = network(batch)
        assert_close(found_B, logit_B, atol=1e-5, rtol=1e-5)
        binary_cross_entropy_with_logits(found_B, batch.label_B).backward()
        frames.append(counter.frame_count)
    assert frames[0] == frames[1], "another shape is another graph"


@pytest.mark.parametrize("name", ENCODERS)
def test_state_loads_as_weights_only(name, schema, make_batch):
    network, other, file = (
        Network(schema, name, "attention").eval(),
        Network(schema, name, "attention").eval(),
        io.BytesIO(),
    )
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(network(make_batch()), other(make_batch()))


GOLDEN = {  # mean, and mean of squares, over real events
    "lstm": (-0.001226, 0.024943),
    "gru": (-0.042357, 0.064973),
    "rnn": (0.077649, 0.215531),
    "conv": (0.198603, 0.085101),
    "transformer": (0.180114, 0.086541),
    "mean": (0.026515, 0.010662),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_numbers(name, fixed_init, make_input):
    encoder = fixed_init(build_encoder({"name": name, "hidden_size": 8}, SIZE))
    x_BTD, mask_BT, time_BT = make_input()
    h_ND = encoder(x_BTD, mask_BT, time_BT)[mask_BT]
    assert_close((h_ND.mean().item(), h_ND.square().mean().item()), GOLDEN[name], atol=1e-5, rtol=0)


def test_convolution_reaches_as_far_as_it_says(make_input):
    encoder = build_encoder({"name": "conv", "num_layers": 3, "kernel_size": 3}, SIZE).eval()
    x_BTD, _, _ = make_input(num=1, length=20)
    mask_BT, changed_BTD = torch.ones(1, 20, dtype=torch.bool), x_BTD.clone()
    changed_BTD[:, 0] += 3.0
    moved_T = (encoder(changed_BTD, mask_BT) != encoder(x_BTD, mask_BT)).any(-1)[0]
    assert moved_T.tolist() == [True] * 15 + [False] * 5  # 1 + 2 · (2³ − 1)


def test_time_positions_read_distances_in_days_only(make_input):
    torch.manual_seed(0)
    encoder = build_encoder({"name": "transformer", "positions": "time"}, SIZE).eval()
    x_BTD, mask_BT, time_BT = make_input()
    h_BTD = encoder(x_BTD, mask_BT, time_BT)
    assert_close(encoder(x_BTD, mask_BT, time_BT + 30.0), h_BTD, atol=1e-5, rtol=0)
    assert (encoder(x_BTD, mask_BT, time_BT * 3.0) - h_BTD).abs().max() > 1e-3
    with pytest.raises(ValueError, match="positions=time needs time_BT"):
        encoder(x_BTD, mask_BT)


def test_rope_is_time_at_one_event_a_day(make_input):
    by_place = build_encoder({"name": "transformer", "positions": "rope"}, SIZE).eval()
    by_time = build_encoder({"name": "transformer", "positions": "time"}, SIZE).eval()
    by_time.load_state_dict(by_place.state_dict())
    x_BTD, mask_BT, _ = make_input()
    day_BT = torch.arange(mask_BT.shape[1], dtype=torch.float32).expand(len(mask_BT), -1)
    assert_close(by_time(x_BTD, mask_BT, day_BT), by_place(x_BTD, mask_BT), atol=1e-6, rtol=0)


def test_running_mean_is_the_mean_so_far(make_input):
    encoder = build_encoder({"name": "mean"}, SIZE).eval()
    x_BTD, mask_BT, _ = make_input()
    y_BTD, h_BTD = encoder.mlp(x_BTD), encoder(x_BTD, mask_BT)
    assert_close(h_BTD[0, 4], y_BTD[0, :5].mean(0))
    assert_close(h_BTD[1, 8], y_BTD[1, :9].mean(0))


def test_dropout_acts_in_training_only(encoder, make_input):
    batch = make_input()
    assert torch.equal(encoder(*batch), encoder(*batch))
    encoder.train()
    assert not torch.equal(encoder(*batch), encoder(*batch))


@pytest.mark.parametrize("name", [*ENCODERS, "sasrec", "esasrec", "bert4rec"])
def test_yaml_shows_every_option_and_builds(name):
    config = plain(compose("train", ["experiment=churn_events", f"encoder={name}"]))["encoder"]
    assert config["name"] == (name if name in ENCODERS else "transformer")
    assert config.keys() - {"name", "frozen"} == set(inspect.signature(ENCODERS[config["name"]]).parameters) - {
        "input_size"
    }
    assert build_encoder(config, SIZE).output_size == 64


def test_every_encoder_has_a_yaml():
    assert {path.stem for path in (CONFIG_DIR / "encoder").glob("*.yaml")} == {
        *ENCODERS,
        "sasrec",
        "esasrec",
        "bert4rec",
        "none",
    }


def test_learned_positions_end_in_one_sentence(make_input):
    encoder = build_encoder({**SASREC, "max_positions": 11}, SIZE).eval()
    x_BTD, mask_BT, _ = make_input(length=12)
    with pytest.raises(ValueError, match="max_positions is 11, got 12 tokens"):
        encoder(x_BTD, mask_BT)
    assert encoder(x_BTD[:, :11], mask_BT[:, :11]).shape == (4, 11, 64)


def test_hidden_tokens_see_both_sides_and_no_padding(make_input):
    torch.manual_seed(0)
    encoder = build_encoder(BERT4REC, SIZE)
    x_BTD, mask_BT, _ = make_input()
    mask_BT = mask_BT.clone()
    mask_BT[-1] = False  # a row that is all padding
    x_BTD.requires_grad_()
    encoder(x_BTD, mask_BT)[mask_BT].square().sum().backward()
    assert x_BTD.grad.isfinite().all()
    assert (x_BTD.grad[~mask_BT] == 0).all()
    assert (x_BTD.grad[mask_BT] != 0).all()


def test_time_buckets_are_logarithmic_and_blind_to_what_lies_ahead():
    time_BT = torch.tensor([[0.0, 1 / 86_400, 1.0, 100.0]])
    assert time_bucket(time_BT, 64)[0].tolist() == [[0, 0, 0, 0], [2, 0, 0, 0], [37, 37, 0, 0], [53, 53, 53, 0]]
    assert time_bucket(time_BT, 40).max() == 39


def test_hstu_reads_time_when_told_to(make_input):
    torch.manual_seed(0)
    x_BTD, mask_BT, time_BT = make_input()
    encoder = build_encoder({"name": "hstu"}, SIZE).eval()
    assert (encoder(x_BTD, mask_BT, time_BT * 3.0) - encoder(x_BTD, mask_BT, time_BT)).abs().max() > 1e-4
    with pytest.raises(ValueError, match="hstu needs time_BT"):
        encoder(x_BTD, mask_BT)
    timeless = build_encoder({"name": "hstu", "num_buckets": 0}, SIZE).eval()
    assert timeless(x_BTD, mask_BT).isfinite().all()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "lstmm"}, "encoder must be one of lstm, gru"),
        ({"name": "none"}, "got 'none'"),
        ({"name": "lstm", "hiden_size": 3}, "nearest: hidden_size"),
        ({"name": "transformer", "positions": "sine"}, "positions must be one of"),
        ({"name": "transformer", "activation": "tanh"}, "activation must be one of"),
        ({"name": "hstu", "hidden_size": 20, "num_heads": 3}, "hidden_size must be a multiple of"),
        ({"name": "transformer", "hidden_size": 20, "num_heads": 4}, "hidden_size must be a multiple of"),
    ],
)
def test_wrong_options_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(config, SIZE)


def test_importing_networks_needs_no_lightning():
    code = "import sys, clm_dl.nn; sys.exit('pytorch_lightning' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
