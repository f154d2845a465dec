"""What is remembered of blends, and how the slider chooses among them."""

import dataclasses

import pytest

from facechain_ext.blend import parse_plan
from facechain_ext.config import PortraitConfig
from facechain_ext.services.balance import Balance, Measured, candidates, plan_for, plan_of, weights_of
from facechain_ext.styles.catalog import Style, find_style, load_styles

FOUND = Balance(
    (
        Measured("face 1 + style 0.5", 0.50, 0.2),
        Measured("face 1 + style 1", 0.40, 0.5),
        Measured("face 1 + style 1 blocks 1*3|0*19|1*3", 0.45, 0.45),
        Measured("face 1 + style 2", 0.20, 0.8),
    ),
    0.55,
    4,
)


@pytest.mark.parametrize(("balance", "style"), [(1.0, 0.2), (0.6, 0.45), (0.5, 0.45), (0.4, 0.5), (0.0, 0.8)])
def test_the_slider_takes_the_most_alike_with_enough_style(balance, style):
    assert FOUND.best(balance).style == style


def test_it_is_explained_in_numbers():
    said = FOUND.explained(0.6)
    assert "likeness 0.45, 82% of what it is without the style, style 0.45 (most reached: 0.80)" in said
    assert "blocks 1*3|0*19|1*3" in said


def test_what_the_settings_say_counts_before_what_was_measured():
    config = PortraitConfig(face_weight=1.0, style_blocks="1*3|0*19|1*3", style_guidance=3)
    assert str(plan_for(config, 0.8, None)) == "face 1 guided 2 + style 0.8 guided 3 blocks 1*3|0*19|1*3"
    plain = dataclasses.replace(config, balance=0.25, face_guidance=1.0, style_guidance=None)
    assert str(plan_for(plain, 0.8, None)) == "face 1 + style 1.2 blocks 1*3|0*19|1*3"
    assert str(plan_for(config, None, None)) == "face 1", "without a style's LoRA the face's is merged, which costs nothing"
    assert str(plan_for(dataclasses.replace(config, balance=1.0), 0.8, FOUND)) == "face 1 + style 0.5"
    assert str(plan_for(dataclasses.replace(config, blend="sum"), 0.8, FOUND)) == "face 1 + style 0.8"
    own = "face 0.7 steps 0>1@0-1 linear + style 0.3"
    assert str(plan_for(dataclasses.replace(config, blend=own), 0.8, FOUND)) == own
    assert str(plan_for(dataclasses.replace(config, blend=own), None, None)) == "face 0.7 steps 0>1@0-1 linear"


@pytest.mark.parametrize("blocks", [25, 19])
def test_what_is_tried_can_be_tried(blocks, tmp_path):
    style = Style("x", "X", "x", "{person}", guidance=1.5)
    plans = candidates(style, PortraitConfig(blend="sum"), 0.8, blocks)
    assert str(plans[0]) == "face 0.9 guided 2 + style 0.8 guided 1.5", "the default is among them, whatever the settings say"
    assert len({str(p) for p in plans}) == len(plans) >= 8
    face, style = tmp_path / "face.safetensors", tmp_path / "style.safetensors"
    for plan in plans:
        assert str(parse_plan(str(plan))) == str(plan)
        assert [w.file for w in weights_of(plan, face, style)] == [face, style]
    assert [w.file for w in weights_of(plans[0], face, None)] == [face]


def test_a_style_says_how_its_lora_acts():
    charcoal = find_style(load_styles(), "charcoal")
    said = f"face 1 guided 2 + style {charcoal.weight:g} guided {charcoal.guidance:g} blocks {charcoal.blocks}"
    assert str(plan_of(charcoal, PortraitConfig(face_weight=1.0), charcoal.weight)) == said
    own = PortraitConfig(face_weight=1.0, style_blocks="1*25", style_guidance=1.5, face_guidance=1)
    assert str(plan_of(charcoal, own, 0.5)) == "face 1 + style 0.5 guided 1.5 blocks 1*25"
    assert str(plan_of(charcoal, PortraitConfig(), 0.5, FOUND)) == FOUND.best(0.5).plan
