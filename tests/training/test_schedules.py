"""Learning-rate schedules against Keras's formulas, at each step."""

import math

import pytest

from tdfast.optimizers import SGD, schedules
from tdfast.optimizers.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    LearningRateSchedule,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

CASES = [
    (ExponentialDecay, {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6},
     lambda t: 0.1 * 0.6 ** (t / 7)),
    (ExponentialDecay, {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6, "staircase": True},
     lambda t: 0.1 * 0.6 ** (t // 7)),
    (InverseTimeDecay, {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6},
     lambda t: 0.1 / (1 + 0.6 * t / 7)),
    (InverseTimeDecay, {"initial_learning_rate": 0.1, "decay_steps": 7, "decay_rate": 0.6, "staircase": True},
     lambda t: 0.1 / (1 + 0.6 * (t // 7))),
    (PiecewiseConstantDecay, {"boundaries": [3, 10], "values": [0.1, 0.02, 0.003]},
     lambda t: 0.1 if t <= 3 else 0.02 if t <= 10 else 0.003),
    (PolynomialDecay, {"initial_learning_rate": 0.1, "decay_steps": 7},
     lambda t: (0.1 - 0.0001) * (1 - min(t, 7) / 7) + 0.0001),
    (PolynomialDecay, {"initial_learning_rate": 0.1, "decay_steps": 7, "end_learning_rate": 0.01,
                       "power": 2.0,
                       "cycle": True},
     lambda t: (0.1 - 0.01) * (1 - t / (7 * max(1, math.ceil(t / 7)))) ** 2 + 0.01),
    (CosineDecay, {"initial_learning_rate": 0.1, "decay_steps": 9, "alpha": 0.2},
     lambda t: 0.1 * (0.8 * (1 + math.cos(math.pi * min(t, 9) / 9)) / 2 + 0.2)),
    (CosineDecay, {"initial_learning_rate": 0.01, "decay_steps": 9, "alpha": 0.2, "warmup_target": 0.1,
                   "warmup_steps": 4},
     lambda t: 0.01 + 0.09 * t / 4 if t < 4
     else 0.1 * (0.8 * (1 + math.cos(math.pi * min(t - 4, 9) / 9)) / 2 + 0.2)),
    (CosineDecayRestarts, {"initial_learning_rate": 0.1, "first_decay_steps": 5, "m_mul": 0.7, "alpha": 0.1},
     lambda t: restarts(t, 5, 2.0, 0.7, 0.1)),
    (CosineDecayRestarts, {"initial_learning_rate": 0.1, "first_decay_steps": 4, "t_mul": 1.0, "m_mul": 0.7},
     lambda t: restarts(t, 4, 1.0, 0.7, 0.0)),
    (CosineDecayRestarts, {"initial_learning_rate": 0.1, "first_decay_steps": 8, "t_mul": 1.5},
     lambda t: restarts(t, 8, 1.5, 1.0, 0.0)),
]


def restarts(t, steps, t_mul, m_mul, alpha):
    """Counted wave by wave, without a logarithm."""
    height = 1.0
    while t >= steps:
        t, steps, height = t - steps, steps * t_mul, height * m_mul
    return 0.1 * ((1 - alpha) * height * (1 + math.cos(math.pi * t / steps)) / 2 + alpha)


@pytest.mark.parametrize("cls, arguments, want", CASES)
def test_formula(cls, arguments, want):
    schedule = cls(**arguments)
    for t in range(40):
        assert schedule(t) == pytest.approx(want(t), rel=1e-12, abs=1e-15), t


@pytest.mark.parametrize("cls, arguments, want", CASES)
def test_config_round_trip(cls, arguments, want):
    schedule = cls(**arguments)
    saved = schedules.serialize(schedule)
    assert saved["module"] == "keras.optimizers.schedules" and saved["class_name"] == cls.__name__
    again = schedules.deserialize(saved)
    assert type(again) is cls and again.get_config() == schedule.get_config() and again(13) == schedule(13)
    optimizer = SGD.from_config(SGD(schedule).get_config())
    assert optimizer.get_config()["learning_rate"] == saved and optimizer.learning_rate == pytest.approx(
        want(0)
    )


class Own(LearningRateSchedule):
    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / (step + 1)

    def get_config(self):
        return {"start": self.start}


def slow():
    return 0.25


def test_own_schedules_and_functions():
    saved = schedules.serialize(Own(0.5))
    assert saved["registered_name"] == "Own" and schedules.deserialize(saved, {"Own": Own})(1) == 0.25
    config = SGD(slow).get_config()
    assert config["learning_rate"] == {"module": "builtins", "class_name": "function", "config": "slow",
                                       "registered_name": "function"}
    assert SGD.from_config(config, {"slow": slow}).learning_rate == 0.25


@pytest.mark.parametrize("make, error, message", [
    (lambda: ExponentialDecay(0.1, 0, 0.5), ValueError, "decay_steps must be over 0, got 0"),
    (lambda: CosineDecayRestarts(0.1, -1), ValueError, "first_decay_steps must be over 0, got -1"),
    (lambda: PiecewiseConstantDecay([1], [0.1]), ValueError, "1 boundaries and 1 values"),
    (lambda: LearningRateSchedule()(0), TypeError, "must override __call__"),
    (lambda: SGD(type("Silent", (LearningRateSchedule,), {})()).get_config(), TypeError,
     "Silent must override get_config"),
    (lambda: SGD(lambda: 0.1).get_config(), ValueError, "cannot be serialized"),
    (lambda: schedules.get("Magic"), ValueError, "Unknown schedule 'Magic'"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
