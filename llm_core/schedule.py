"""Learning rate schedules as pure functions of the step: there is nothing to save, and nothing to go wrong on resume.

Each gives the share of the peak rate at which step ``step`` (0, 1, ... ``steps`` - 1) is taken.
"""

from __future__ import annotations

import math

from llm_core.config import ScheduleConfig


def learning_rate_share(step: int, steps: int, schedule: ScheduleConfig) -> float:
    """The share of the peak learning rate for the update number ``step`` of ``steps``."""
    warmup = warmup_share(step, schedule.warmup_steps)
    if schedule.kind == "wsd":
        rest = warmup_stable_decay(step, steps, schedule.decay_fraction, schedule.final_fraction)
    elif schedule.kind == "cosine":
        rest = cosine(step, steps, schedule.warmup_steps, schedule.final_fraction)
    else:
        rest = linear(step, steps, schedule.warmup_steps, schedule.final_fraction)
    return min(warmup, rest)


def warmup_share(step: int, warmup_steps: int) -> float:
    """Up in a straight line: the first update is a small one, number ``warmup_steps`` the first at the full rate."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def warmup_stable_decay(step: int, steps: int, decay_fraction: float, final_fraction: float) -> float:
    """Full rate, then down in a straight line over the last ``decay_fraction`` of the steps (Hu et al. 2024).

    Unlike the cosine, the plateau doesn't depend on ``steps``: a run can be made longer from a checkpoint before the
    decay.
    """
    decay_steps = round(steps * decay_fraction)
    return _line(step, steps - decay_steps, steps, final_fraction)


def cosine(step: int, steps: int, warmup_steps: int, final_fraction: float) -> float:
    """Half a cosine wave from the full rate down to ``final_fraction`` (Loshchilov & Hutter 2017)."""
    done = _share_done(step, warmup_steps, steps)
    return final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * done))


def linear(step: int, steps: int, warmup_steps: int, final_fraction: float) -> float:
    """Down in a straight line from the end of the warmup on."""
    return _line(step, warmup_steps, steps, final_fraction)


def _line(step: int, begin: int, end: int, final_fraction: float) -> float:
    return 1.0 - (1.0 - final_fraction) * _share_done(step, begin, end)


def _share_done(step: int, begin: int, end: int) -> float:
    """0 up to ``begin``, 1 at the last step, ``end`` - 1."""
    if step <= begin:
        return 0.0
    return min(1.0, (step - begin) / max(1, end - 1 - begin))
