"""The field table: every setting has words, ranges come from the dataclasses, forms are read in the words of the page."""

from __future__ import annotations

import dataclasses

import pytest

from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
from facechain_ext.errors import ConfigError
from facechain_ext.ui.fields import WORDS, field_of, fields_of, read_form

CONFIGS = [PrepareConfig, TrainConfig, PortraitConfig]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_is_in_the_table(config):
    assert set(WORDS[config]) == {f.name for f in dataclasses.fields(config)}


@pytest.mark.parametrize("config", CONFIGS)
def test_ranges_and_defaults_are_the_dataclasses_own(config):
    own = config()
    for field in fields_of(config):
        declared = {f.name: f for f in dataclasses.fields(config)}[field.name]
        assert field.default == getattr(own, field.name)
        assert (field.low, field.high) == (declared.metadata.get("low"), declared.metadata.get("high"))
        assert field.kind in (int, float, str, bool)


def test_ranges_are_said_in_words():
    assert field_of(TrainConfig, "steps").range == "1 to 20000"
    assert field_of(TrainConfig, "learning_rate").range == "above 0 to 0.1"
    assert field_of(PrepareConfig, "resolution").range == "64 to 2048, a multiple of 8"
    assert field_of(PrepareConfig, "trigger").range == ""


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("steps", 12.0, 12),
        ("steps", "12", 12),
        ("seed", "4294967295", 4294967295),
        ("learning_rate", "1e-4", 1e-4),
        ("resolution", "", None),
        ("resolution", None, None),
        ("resolution", " 512 ", 512),
        ("flip", True, True),
        ("steps", "many", "many"),
        ("steps", 1.5, 1.5),
    ],
)
def test_what_a_form_gives_becomes_what_the_setting_wants(name, given, wanted):
    parsed = field_of(TrainConfig, name).parse(given)
    assert parsed == wanted
    assert type(parsed) is type(wanted)


def test_a_form_is_laid_over_the_base():
    base = TrainConfig(rank=4, weight_decay=0.5)
    assert read_form(base, {"steps": 9.0, "resolution": ""}) == TrainConfig(rank=4, weight_decay=0.5, steps=9)


def test_problems_name_the_fields_as_the_page_does():
    with pytest.raises(ConfigError) as caught:
        read_form(TrainConfig(), {"steps": 0, "learning_rate": "fast", "batch": None})
    assert [p.split("'")[1] for p in caught.value.problems] == ["Steps", "Batch", "Learning rate"]
