from itertools import pairwise

import pytest

from llm_core.config import ScheduleConfig
from llm_core.schedule import learning_rate_share


@pytest.mark.parametrize("kind", ["wsd", "cosine", "linear"])
def test_warms_up_in_a_line_reaches_the_peak_and_ends_at_the_final_share(kind: str) -> None:
    schedule = ScheduleConfig(kind=kind, warmup_steps=9, decay_fraction=0.4, final_fraction=0.1)
    shares = [learning_rate_share(step, 100, schedule) for step in range(100)]
    assert shares[:9] == pytest.approx([(step + 1) / 10 for step in range(9)])
    assert max(shares) == shares[9] == 1.0
    assert shares[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(shares[9:]))


def test_wsd_stays_at_the_peak_until_the_decay_begins() -> None:
    schedule = ScheduleConfig(kind="wsd", warmup_steps=5, decay_fraction=0.25, final_fraction=0.0)
    shares = [learning_rate_share(step, 200, schedule) for step in range(200)]
    assert shares[5:151] == [1.0] * 146
    assert shares[150 + 49 // 2] == pytest.approx(0.5, abs=0.02)


def test_cosine_is_at_half_in_the_middle() -> None:
    schedule = ScheduleConfig(kind="cosine", warmup_steps=0, final_fraction=0.2)
    assert learning_rate_share(50, 101, schedule) == pytest.approx(0.6)


@pytest.mark.parametrize("kind", ["wsd", "cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_stay_in_bounds(kind: str, steps: int) -> None:
    for warmup in (0, 1, 50):
        schedule = ScheduleConfig(kind=kind, warmup_steps=warmup)
        assert all(0 < learning_rate_share(step, steps, schedule) <= 1 for step in range(steps))
