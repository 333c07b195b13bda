"""Buy till you die: golden values, recovery of known parameters, answers against simulation, invariances, bad input."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pandas as pd
import pytest

from clm_dl.baselines.buy_till_you_die.models import BetaGeo, ConvergenceError, GammaGamma, ModifiedBetaGeo, ParetoNBD
from clm_dl.config import compose
from clm_dl.data.log.files import find_files, member_text

MODELS: list[type[Any]] = [BetaGeo, ModifiedBetaGeo, ParetoNBD]
WORLDS: dict[type[Any], dict[str, float]] = {
    BetaGeo: {"r": 0.8, "alpha": 6.0, "a": 0.9, "b": 2.5},
    ModifiedBetaGeo: {"r": 0.8, "alpha": 6.0, "a": 0.9, "b": 2.5},
    ParetoNBD: {"r": 0.8, "alpha": 6.0, "s": 0.7, "beta": 9.0},
}


@pytest.fixture(scope="module")
def wheel() -> Path:
    try:
        return find_files("cdnow:master", compose("train", ["data=cdnow"]).paths.data_dir)[0]
    except FileNotFoundError as error:
        pytest.fail(f"{error} (make setup does it)")


@pytest.fixture(scope="module")
def sample(wheel: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The 2,357 customers of CDNOW_sample.txt by day until 1997-09-30, in weeks: frequency, recency, t."""
    text = zipfile.ZipFile(wheel).read("lifetimes/datasets/CDNOW_sample.txt")
    log = pd.read_csv(
        io.BytesIO(text), sep=r"\s+", header=None, usecols=[1, 2], names=["master", "customer", "date", "cds", "value"]
    )
    day = (pd.to_datetime(log["date"].astype(str)) - pd.Timestamp("1997-01-01")).dt.days
    bought = (
        log.assign(day=day)[day <= 272]
        .drop_duplicates(["customer", "day"])
        .groupby("customer")["day"]
        .agg(["min", "max", "size"])
    )
    first, last = bought["min"].to_numpy(), bought["max"].to_numpy()
    return bought["size"].to_numpy() - 1.0, (last - first) / 7, (272 - first) / 7


@pytest.fixture(scope="module")
def repeats(wheel: Path) -> pd.DataFrame:
    """Repeat days and their mean spend of CDNOW's customers before day 273."""
    log = pd.read_csv(io.BytesIO(member_text("cdnow:master", wheel)), sep=r"\s+", dtype={"date": str})
    log = log[log["date"] < "19971001"].groupby(["customer_id", "date"], as_index=False)["dollar_value"].sum()
    later = log[log["date"] > log.groupby("customer_id")["date"].transform("min")]
    return later.groupby("customer_id")["dollar_value"].agg(["size", "mean"])


def simulate(kind: type[Any], num: int, t: np.ndarray, seed: int) -> np.ndarray:
    """Times of the repeat purchases [num, K] of customers of a world, inf where there is none; the first purchase is at
    0.
    """
    world, rng = WORLDS[kind], np.random.default_rng(seed)
    rate = rng.gamma(world["r"], 1 / world["alpha"], num)
    leave = rng.beta(world["a"], world["b"], num) if "a" in world else np.zeros(num)
    life = rng.exponential(1 / rng.gamma(world["s"], 1 / world["beta"], num)) if "s" in world else np.full(num, np.inf)
    now, times = np.zeros(num), []
    alive = rng.random(num) >= leave if kind is ModifiedBetaGeo else np.ones(num, bool)
    while alive.any():
        now = now + rng.exponential(1 / rate)
        alive = alive & (now <= np.minimum(life, t))
        times.append(np.where(alive, now, np.inf))
        alive = alive & (rng.random(num) >= leave)
    return np.stack(times, axis=1)


def history(times: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    before = times <= t[:, None]
    return before.sum(1).astype(float), np.where(before, times, 0).max(1), t


@pytest.fixture(scope="module")
def fit() -> Callable[[type[Any]], Any]:
    """The model of a class, fitted to 6,000 customers of its own world."""
    fitted: dict[type[Any], Any] = {}

    def get(kind: type[Any]) -> Any:
        if kind not in fitted:
            t = np.random.default_rng(7).uniform(40, 120, 6000)
            fitted[kind] = kind().fit(*history(simulate(kind, 6000, t, seed=1), t))
        return fitted[kind]

    return get


@pytest.mark.parametrize(
    ("kind", "parameters", "log_likelihood"),
    [
        (BetaGeo, {"r_": 0.2426, "alpha_": 4.4136, "a_": 0.7929, "b_": 2.4259}, -9582.43),
        (ParetoNBD, {"r_": 0.5533, "alpha_": 10.5777, "s_": 0.6062, "beta_": 11.6687}, -9594.98),
    ],
)
def test_golden_cdnow_sample(kind: type[Any], parameters: dict[str, float], log_likelihood: float, sample: Any) -> None:
    assert len(sample[0]) == 2357
    model = kind().fit(*sample)
    assert {name: round(getattr(model, name), 4) for name in parameters} == parameters
    assert round(model.log_likelihood_, 2) == log_likelihood


def test_golden_gamma_gamma(repeats: pd.DataFrame) -> None:
    model = GammaGamma().fit(repeats["size"], repeats["mean"])
    assert [round(value, 3) for value in (model.p_, model.q_, model.gamma_)] == [6.275, 3.624, 14.984]
    nobody, many = model.expected_value([0, 10_000], [0.0, 50.0])
    assert nobody == pytest.approx(model.p_ * model.gamma_ / (model.q_ - 1))
    assert many == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize("kind", MODELS)
def test_known_parameters_come_back(kind: type[Any], fit: Callable) -> None:
    model, world = fit(kind), WORLDS[kind]
    for name, value in world.items():
        assert getattr(model, f"{name}_") == pytest.approx(value, rel=0.35), name
    means = {
        (kind, top, bottom): world[top] / world[bottom]
        for top, bottom in (("r", "alpha"), ("a", "b"), ("s", "beta"))
        if top in world
    }
    for (_, top, bottom), value in means.items():  # what the data pin down better
        assert getattr(model, f"{top}_") / getattr(model, f"{bottom}_") == pytest.approx(value, rel=0.2)


@pytest.mark.parametrize("kind", MODELS)
def test_answers_agree_with_simulation(kind: type[Any]) -> None:
    """Of 150,000 simulated customers watched until 30, those of like history go on as the model with the true
    parameters says.
    """
    num, until, ahead = 150_000, 30.0, 13.0
    model = kind()
    model.log_likelihood_ = 0.0
    for name, value in WORLDS[kind].items():
        setattr(model, f"{name}_", value)
    times = simulate(kind, num, np.full(num, until + ahead), seed=3)
    x, t_x, t = history(times, np.full(num, until))
    later = (np.isfinite(times) & (times > until)).sum(1)
    silent, purchases = model.probability_inactive(ahead, x, t_x, t), model.expected_purchases(ahead, x, t_x, t)
    group = np.minimum(x, 4) * 3 + np.digitize(t_x / until, [0.4, 0.8])
    for number in np.unique(group):
        chosen = group == number
        error = 4 / np.sqrt(chosen.sum())
        assert silent[chosen].mean() == pytest.approx((later[chosen] == 0).mean(), abs=0.5 * error)
        assert purchases[chosen].mean() == pytest.approx(later[chosen].mean(), abs=error * later[chosen].std() + 1e-9)
    assert len(np.unique(group)) >= 10
    wrong = 1 - model.probability_alive(x, t_x, t)
    assert abs(wrong.mean() - (later == 0).mean()) > 0.05  # 1 − P(alive) is another quantity


@pytest.mark.parametrize("kind", MODELS)
def test_the_slopes_are_those_of_the_likelihood(kind: type[Any]) -> None:
    x, t_x, t = np.array([0.0, 1, 3, 40, 2]), np.array([0.0, 0.4, 2.9, 3.0, 3.0]), np.array([3.0, 3, 3, 3, 3])
    for theta in (np.array([-0.5, 0.3, 0.2, 0.7]), np.array([1.0, -0.8, -1.0, 1.5])):
        slope = kind()._likelihood(theta, x, t_x, t)[1]
        step = 1e-6 * np.eye(4)
        numeric = [
            (kind()._likelihood(theta + e, x, t_x, t)[0] - kind()._likelihood(theta - e, x, t_x, t)[0]) / 2e-6
            for e in step
        ]
        np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(10.6, 11.7), (40.0, 0.5), (0.02, 3.0), (2.0, 2.0)])
def test_pareto_integral_agrees_with_the_published_form(alpha: float, beta: float) -> None:
    r, s = 0.55, 0.6
    high, low = max(alpha, beta), min(alpha, beta)
    for x, t_x, t in [(0, 0.0, 30.0), (3, 2.0, 30.0), (3, 29.99, 30.0), (250, 20.0, 39.0)]:
        alive, left, _ = ParetoNBD._parts((r, alpha, s, beta), *(np.array([float(value)]) for value in (x, t_x, t)))
        with mpmath.workdps(60):

            def part(u: float, x: int = x) -> mpmath.mpf:
                second = s + 1 if alpha >= beta else r + x
                series = mpmath.hyp2f1(r + s + x, second, r + s + x + 1, mpmath.mpf(high - low) / (high + u))
                return series / mpmath.mpf(high + u) ** (r + s + x)

            expected = mpmath.log(s / (r + s + x) * (part(t_x) - part(t)))
        assert left[0] == pytest.approx(float(expected), rel=1e-9)
        assert alive[0] == pytest.approx(-(r + x) * np.log(alpha + t) - s * np.log(beta + t))


@pytest.mark.parametrize("kind", [BetaGeo, ModifiedBetaGeo])
@pytest.mark.parametrize(
    "parameters",  # everyday ones, a + b = 1, none leaves, all leave, no spread of rates, no spread of anything
    [
        (0.24, 4.4, 0.79, 2.4),
        (0.4, 3, 0.3, 0.7),
        (0.5, 5, 0.01, 1000),
        (2, 10, 1000, 0.5),
        (1000, 15000, 0.5, 0.6),
        (1000, 15000, 300, 900),
    ],
)
def test_expected_purchases_agree_with_the_published_form_in_many_digits(
    kind: type[Any], parameters: tuple[float, ...]
) -> None:
    model = kind()
    model.r_, model.alpha_, model.a_, model.b_ = parameters
    x, t, horizon = np.array([0.0, 1, 7, 300]), np.full(4, 30.0), np.array([1.0, 39.0, 250.0])[:, None]
    found = model._purchases_alive(horizon, x, t)
    for (row, column), value in np.ndenumerate(found):
        with mpmath.workdps(60):
            r, alpha, a, b = map(mpmath.mpf, parameters)
            shape, stays, h = r + x[column], b + x[column] + model.at_first + mpmath.mpf(10) ** -30, horizon[row, 0]
            series = mpmath.hyp2f1(shape, stays, a + stays - 1, h / (alpha + 30 + h))
            expected = (a + stays - 1) / (a - 1) * (1 - ((alpha + 30) / (alpha + 30 + h)) ** shape * series)
        assert value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_unit_order_and_repetition_change_nothing(kind: type[Any], sample: Any) -> None:
    x, t_x, t = (values[::4] for values in sample)
    weeks, days = kind().fit(x, t_x, t), kind().fit(x[::-1], 7 * t_x[::-1], 7 * t[::-1])
    twice = kind().fit(np.tile(x, 2), np.tile(t_x, 2), np.tile(t, 2))
    for name in kind.names:
        scale = 7 if name in ("alpha", "beta") else 1
        assert getattr(days, f"{name}_") == pytest.approx(scale * getattr(weeks, f"{name}_"), rel=1e-3)
        assert getattr(twice, f"{name}_") == pytest.approx(getattr(weeks, f"{name}_"), rel=1e-3)
    assert twice.log_likelihood_ == pytest.approx(2 * weeks.log_likelihood_)
    assert days.log_likelihood_ == pytest.approx(weeks.log_likelihood_ - x.sum() * np.log(7))
    np.testing.assert_allclose(days.probability_inactive(91)[::-1], weeks.probability_inactive(13), rtol=1e-3)


@pytest.mark.parametrize("kind", MODELS)
def test_horizons(kind: type[Any], fit: Callable) -> None:
    model = fit(kind)
    horizon = np.array([0.0, 1.0, 13.0, 52.0, 1e4])[:, None]
    silent, purchases = model.probability_inactive(horizon), model.expected_purchases(horizon)
    assert silent.shape == purchases.shape == (5, 6000)
    np.testing.assert_array_equal(silent[0], 1)
    np.testing.assert_allclose(purchases[0], 0, atol=1e-12)
    assert (np.diff(silent, axis=0) <= 1e-9).all()
    assert (np.diff(purchases, axis=0) >= -1e-9).all()
    assert (purchases >= 1 - silent - 1e-9).all()  # E[X] ≥ P(X > 0)
    assert (silent >= 1 - model.probability_alive() - 1e-9).all()
    np.testing.assert_array_equal(silent[2], model.probability_inactive(13, *model._fitted))
    new = model.expected_purchases(13, 0, 0, 0)
    assert new.shape == (1,)
    assert new[0] > 0


@pytest.mark.parametrize("kind", [BetaGeo, ModifiedBetaGeo, ParetoNBD])
def test_busy_customers_overflow_nothing(kind: type[Any], fit: Callable) -> None:
    model = fit(kind)
    x, t_x, t = [2000.0, 2000.0, 0.0], [60.0, 5.0, 0.0], [60.0, 60.0, 500.0]
    silent, purchases = model.probability_inactive(13, x, t_x, t), model.expected_purchases(13, x, t_x, t)
    assert silent[0] < 0.2
    assert silent[1] > 0.99
    assert 10 < purchases[0] < 2000 / 60 * 13
    assert np.isfinite(silent).all()
    assert np.isfinite(purchases).all()


@pytest.mark.parametrize("name", ["a_", "s_"])
def test_the_removable_singularity_is_removed(name: str, fit: Callable) -> None:
    kind = BetaGeo if name == "a_" else ParetoNBD
    values = []
    for value in (1 - 1e-3, 1.0, 1 + 1e-3):
        model = kind()
        model.__dict__.update(fit(kind).__dict__)
        setattr(model, name, value)
        values.append(model.expected_purchases(13.0))
    np.testing.assert_allclose(values[1], (values[0] + values[2]) / 2, rtol=1e-5)


def test_gamma_gamma_recovers_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, 8000)
    mean = rng.gamma(np.maximum(5.0 * x, 1e-9)) / np.maximum(x, 1) / rng.gamma(4.0, 1 / 20.0, 8000)
    mean = np.where(x > 0, mean, 0)
    model = GammaGamma().fit(x, mean)
    assert [model.p_, model.q_, model.gamma_] == [pytest.approx(value, rel=0.15) for value in (5, 4, 20)]
    dollars = GammaGamma().fit(x, 100 * mean)
    assert [dollars.p_, dollars.q_, dollars.gamma_ / 100] == [
        pytest.approx(v, rel=1e-4) for v in (model.p_, model.q_, model.gamma_)
    ]
    assert dollars.log_likelihood_ == pytest.approx(model.log_likelihood_ - (x > 0).sum() * np.log(100))
    everyone = model.expected_value([0], [0])[0]
    few, many = model.expected_value([1, 8], [3 * everyone, 3 * everyone])
    assert everyone < few < many < 3 * everyone


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([1, 0], [-1, 0], [5, 5]), "recency must be finite and ≥ 0, got -1"),
        (([1, 0], [6, 0], [5, 5]), "recency is the time .* cannot exceed t, got 6 of 5"),
        (([1, 0], [2, 3], [5, 5]), "recency must be 0 where frequency is 0"),
        (([0, 0], [0, 0], [5, 5]), "nobody bought twice"),
        (([0, 0], [0, 0], [0, 0]), "cover one period only"),
        (([1, np.nan], [2, 0], [5, 5]), "frequency must be finite"),
        (([1, 0], [2], [5, 5]), "one value a customer"),
        (([], [], []), "no customers"),
    ],
)
def test_bad_histories_are_one_sentence(kind: type[Any], data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        kind().fit(*data)
    assert "\n" not in str(error.value)


def test_bad_questions_are_one_sentence(fit: Callable) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        BetaGeo().expected_purchases(3)
    with pytest.raises(ValueError, match="together"):
        fit(BetaGeo).expected_purchases(3, [1])
    with pytest.raises(ValueError, match="horizon must be finite and ≥ 0"):
        fit(BetaGeo).probability_inactive(-1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([2, 1], [0, 0]), "all spend is zero"),
        (([0, 0], [3, 4]), "a purchase and a mean value"),
        (([2, 1], [5, -1]), "mean_value must be finite and ≥ 0, got -1"),
        (([2, 1], [5]), "one value a customer"),
    ],
)
def test_bad_spend_is_one_sentence(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GammaGamma().fit(*data)


def test_a_likelihood_without_a_maximum_says_which_parameter_ran_away() -> None:
    rng = np.random.default_rng(0)
    t = np.full(500, 50.0)  # everyone buys at one rate and nobody leaves: no spread to learn
    times = np.cumsum(rng.exponential(5.0, (500, 40)), axis=1)
    data = history(times, t)
    with pytest.raises(ConvergenceError, match=r"(alpha|r|a|b) runs to (infinity|zero)"):
        BetaGeo().fit(*data)
    limit = BetaGeo(limits=True).fit(*data)
    assert limit.expected_purchases(10.0).mean() == pytest.approx(2.0, rel=0.1)
