"""Learning-rate schedules: warm-up to the peak, then constant, cosine to zero, or one-cycle."""

import numpy as np
import pytest

from clm_dl.tasks.module import learning_rate_factor


def curve(name: str, *, num_steps: int = 100, warmup: float = 0.1) -> np.ndarray:
    return np.array(
        [learning_rate_factor(step, num_steps=num_steps, name=name, warmup=warmup) for step in range(num_steps + 1)]
    )


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle"])
def test_warms_up_to_the_peak_and_never_exceeds_it(name: str) -> None:
    factor = curve(name)
    assert (np.diff(factor[:10]) > 0).all()
    assert factor.max() == factor[9] == factor[10] == 1.0
    assert factor.min() >= 0


def test_cosine_falls_to_zero_and_halves_midway() -> None:
    factor = curve("cosine")
    assert (np.diff(factor[10:]) < 0).all()
    assert factor[55] == pytest.approx(0.5)
    assert factor[100] == pytest.approx(0.0, abs=1e-12)


def test_one_cycle_begins_at_a_twentyfifth_and_ends_at_a_ten_thousandth() -> None:
    factor = curve("one_cycle", num_steps=1000)
    assert factor[0] == pytest.approx(0.04, abs=0.01)
    assert factor[1000] == pytest.approx(1e-4)


def test_constant_stays() -> None:
    assert (curve("constant")[10:] == 1.0).all()


def test_steps_beyond_the_last_and_runs_of_one_step() -> None:
    assert learning_rate_factor(150, num_steps=100, name="cosine", warmup=0.1) == 0.0
    assert learning_rate_factor(0, num_steps=1, name="cosine", warmup=0.0) == 1.0


def test_an_unknown_name_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="must be constant, cosine or one_cycle, got 'linear'"):
        learning_rate_factor(0, num_steps=10, name="linear", warmup=0.1)
