"""Settings: every problem at once, unknown keys refused, round trips."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig, plain_words
from facechain_ext.errors import ConfigError, UserInputError

ALL = [TrainConfig, PrepareConfig, PortraitConfig]


@pytest.mark.parametrize("kind", ALL)
def test_defaults_survive_a_round_trip(kind):
    assert kind.from_dict(kind().to_dict()) == kind()


def test_all_problems_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({"rnk": 8, "steps": 0, "alpha": "much", "flip": 1})
    problems = caught.value.problems
    assert len(problems) == 4
    assert "did you mean 'rank'" in problems[0]
    assert {"steps", "alpha", "flip"} == {name for name in ("steps", "alpha", "flip", "seed") if any(f"'{name}'" in p for p in problems)}
    assert isinstance(caught.value, UserInputError)
    assert caught.value.exit_code == 2


def numeric_fields():
    for kind in ALL:
        for field in dataclasses.fields(kind):
            if "low" in field.metadata:
                yield pytest.param(kind, field, id=f"{kind.__name__}.{field.name}")


@pytest.mark.parametrize(("kind", "field"), numeric_fields())
def test_every_limit_is_enforced(kind, field):
    low, high, multiple = field.metadata["low"], field.metadata["high"], field.metadata["multiple"]
    assert getattr(kind(**{field.name: high}), field.name) == high
    for bad in (high * 2 + 1, low - 1, float("nan"), float("inf"), "text", True):
        with pytest.raises(ConfigError):
            kind(**{field.name: bad})
    if multiple:
        with pytest.raises(ConfigError):
            kind(**{field.name: low + 1})


@given(st.integers(1, 20000), st.integers(1, 256), st.floats(1e-8, 0.1), st.booleans())
def test_any_valid_training_settings_round_trip(steps, rank, rate, flip):
    config = TrainConfig(steps=steps, rank=rank, learning_rate=rate, flip=flip)
    assert TrainConfig.from_dict(config.to_dict()) == config


@given(st.text(max_size=70))
def test_trigger_words_never_carry_prompt_syntax(text):
    if plain_words(text):
        PrepareConfig(trigger=text)
        assert not set(text) & set("()[]<>:,")
    else:
        with pytest.raises(ConfigError):
            PrepareConfig(trigger=text)
