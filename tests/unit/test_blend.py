"""A blend's text says all of it, and schedules are what they are called."""

import numpy as np
import pytest

from facechain_ext.blend import BlendPlan, Part, Region, Schedule, negative_share, parse_plan, share_of
from facechain_ext.errors import UserInputError

PLANS = [
    BlendPlan((Part("face", 0.9),)),
    BlendPlan((Part("face", 0.95, 0.5, schedule=Schedule(0.2, 1, 0.25, 0.6, "cosine")), Part("style", 0.35))),
    BlendPlan((Part("style", 1.2, blocks=(1.0,) * 12 + (0.5,) + (0.25, *(0.0,) * 11)), Part("face", -0.5))),
    BlendPlan((Part("Anna-1", 1, region=Region((0, 0, 0.5, 1))), Part("orl_3", 1, region=Region((0.5, 0, 1, 1), feather=0.1)))),
    BlendPlan((Part("face", 1, 0.5, guided=2.5, schedule=Schedule(0, 1)), Part("style", 2, blocks=(1.0,) * 25, guided=0))),
    BlendPlan((Part("face", 1e-05, 3, (0.5,) * 19, Schedule(1, 0, 0, 1, "step"), Region((0.125, 0.25, 0.5, 0.75))),)),
]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_text_gives_the_plan_back(plan):
    again = parse_plan(str(plan))
    assert str(again) == str(plan)
    for part, other in zip(plan.parts, again.parts, strict=True):
        for name in ("role", "unet", "text_weight", "blocks", "schedule", "guided"):
            assert getattr(part, name) == getattr(other, name)
        assert (part.region and part.region.key) == (other.region and other.region.key)
    assert not set(str(plan)) & set(',:"'), "the infotext would have to quote it"


@pytest.mark.parametrize(
    "text",
    [
        "face",
        "face x",
        "face 9",
        "face 1 blocks 1*7",
        "face 1 steps 1>0@0.6-0.2 cosine",
        "face 1 steps 1>0@0-1 round",
        "face 1 + face 1",
        "a b 1",
    ],
)
def test_what_is_no_plan_is_refused_with_a_sentence(text):
    with pytest.raises(UserInputError):
        parse_plan(text)


def test_a_mask_does_not_travel():
    plan = BlendPlan((Part("face", region=Region(mask=np.ones((4, 4)))),))
    with pytest.raises(UserInputError, match="mask"):
        parse_plan(str(plan))


def test_schedules():
    line = Schedule(0, 1, 0.2, 0.6)
    assert [line.at(x) for x in (0, 0.2, 0.4, 0.6, 1)] == pytest.approx([0, 0, 0.5, 1, 1])
    soft = Schedule(1, 0, 0, 1, "cosine")
    assert [soft.at(x) for x in (0, 0.25, 0.5, 1)] == pytest.approx([1, 0.8536, 0.5, 0], abs=1e-3)
    jump = Schedule(1, 0, 0.5, 0.5, "step")
    assert [jump.at(x) for x in (0, 0.49, 0.5, 1)] == [1, 1, 0, 0]
    assert [share_of(i, 5) for i in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert share_of(0, 1) == 0
    assert Schedule(0.7, 0.7).is_constant
    assert not Part("face", schedule=Schedule(0.7, 0.7)).live
    assert Part("face", schedule=line).live


@pytest.mark.parametrize(("guided", "cfg"), [(2, 3), (2, 7), (1.5, 4), (1, 7), (3, 3), (0.5, 3)])
def test_guidance_makes_a_lora_act_as_often_as_wanted(guided, cfg):
    share = negative_share(guided, cfg)
    assert share + cfg * (1 - share) == pytest.approx(guided)
    assert Part("face", guided=guided).live == (guided != 1)


def test_guidance_has_its_limits():
    assert negative_share(4, 3) == 0
    assert negative_share(2, 1) == 1, "without guidance the negative prompt counts for nothing"
