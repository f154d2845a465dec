"""LoRAs by step, block and region inside the WebUI: what they do, and that nothing of them stays."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from modules import infotext_utils, script_callbacks, sd_models, sd_samplers

from facechain_ext.blend import Region, Schedule
from facechain_ext.errors import HostError
from facechain_ext.hosts.a1111.blending import _Steps
from facechain_ext.hosts.a1111.model import targets_of, unet_of
from facechain_ext.lora.files import LoraOrigin, write
from facechain_ext.ports import Family, LoraWeight, Prediction, RegionPrompt, SamplingRequest
from facechain_ext.progress import CancelToken

WANTED = SamplingRequest("photo of a man", "blurred", (1, 2), 64, 64, 4, 3.0, "DDIM")


@pytest.fixture(scope="session")
def file(page, tmp_path_factory):
    """A random LoRA on all layers of the loaded checkpoint, strong enough to be seen."""
    unet, draw, state = unet_of(sd_models.model_data.sd_model), torch.Generator().manual_seed(4), {}
    for path, name in targets_of(unet, Family.SD1).items():
        size = unet.get_submodule(path).weight.shape
        down = torch.randn(4, *size[1:], generator=draw) * float(np.prod(size[1:])) ** -0.5
        state[name] = (down, torch.randn(size[0], 4, *[1] * (len(size) - 2), generator=draw) * 0.1)
    found = tmp_path_factory.mktemp("blending") / "random.safetensors"
    write(found, state, LoraOrigin("random", Family.SD1, Prediction.EPS, "c", "0" * 64, 4.0, 4, 1, 64, "sks", ["sks"], 1))
    return found


def pictures(studio, *loras, **changes):
    found = studio.host(None).generate(replace(WANTED, loras=loras, **changes), lambda _: None, CancelToken())
    return [p.astype(int) for p in found]


def far(a, b):
    return max(np.abs(x - y).max() for x, y in zip(a, b, strict=True))


def state():
    model = sd_models.model_data.sd_model
    unet = unet_of(model)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())
    return hooks, len(script_callbacks.callback_map["cfg_denoiser"]), {k: v.clone() for k, v in unet.state_dict().items()}


def same(before, after):
    return before[:2] == after[:2] and all(torch.equal(v, after[2][k]) for k, v in before[2].items())


def test_hooks_draw_what_the_hosts_own_loader_draws(studio, file):
    before, plain = state(), pictures(studio)
    merged = pictures(studio, LoraWeight(file, 0.8, 0.8))
    assert far(merged, plain) > 10
    assert far(pictures(studio, LoraWeight(file, 0.8, 0.8, blocks=(1.0,) * 25)), merged) <= 2
    assert far(pictures(studio, LoraWeight(file, 0.8, 0.8, region=Region((0, 0, 1, 1)))), merged) <= 2
    assert far(pictures(studio, LoraWeight(file, 0.8, 0.8, blocks=(0.0,) * 25)), plain) <= 2
    assert same(before, state())
    assert far(pictures(studio), plain) == 0


@pytest.mark.parametrize("negative", ["blurred", ", ".join(["blurred and dark"] * 30)])
def test_the_negative_prompts_prediction_has_a_weight_of_its_own(studio, file, negative):
    """At guidance 1 only the wanted prompt's prediction counts, so there it changes nothing."""
    before, on_both, on_one = state(), LoraWeight(file, 0.8, 0.0), LoraWeight(file, 0.8, 0.0, guided=3)
    assert far(pictures(studio, on_one, cfg=1.0, negative=negative), pictures(studio, on_both, cfg=1.0, negative=negative)) <= 2
    assert far(pictures(studio, on_one, negative=negative), pictures(studio, on_both, negative=negative)) > 5
    assert same(before, state())


def test_the_negative_prompts_rows_are_known_however_the_host_calls():
    """A1111 calls once for both prompts or once for each, and makes the shorter one longer by tokens at its end; Forge repeats it."""
    steps, draw = _Steps(SimpleNamespace(at=lambda *_: None)), torch.Generator().manual_seed(1)
    wanted, unwanted = torch.randn(2, 154, 8, generator=draw), torch.randn(2, 77, 8, generator=draw)
    assert not steps.negative(wanted).any()
    steps.on_step(SimpleNamespace(denoiser=SimpleNamespace(step=0, total_steps=4), text_uncond={"crossattn": unwanted}))
    longer = torch.cat([unwanted, torch.zeros(2, 77, 8)], 1)
    for rows, expected in (
        (unwanted, [True, True]),
        (wanted, [False, False]),
        (torch.cat([wanted, longer]), [False, False, True, True]),
        (torch.cat([unwanted.repeat(1, 2, 1), wanted]), [True, True, False, False]),
        (torch.cat([wanted[:, :77], unwanted]).half(), [False, False, True, True]),
    ):
        assert steps.negative(rows).tolist() == expected


def test_every_step_has_its_weight(studio, file, monkeypatch):
    from facechain_ext.lora.live import LiveBlend

    seen, own = [], LiveBlend.at
    monkeypatch.setattr(LiveBlend, "at", lambda self, step, total: seen.append((step, total)) or own(self, step, total))
    late = pictures(studio, LoraWeight(file, schedule=Schedule(0, 1, 0.5, 0.5, "step")))
    assert seen[-4:] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert far(late, pictures(studio)) > 2
    assert far(late, pictures(studio, LoraWeight(file))) > 2


def test_words_of_regions_reach_the_picture(studio, file):
    left, right = Region((0, 0, 0.5, 1)), Region((0.5, 0, 1, 1))
    plain = pictures(studio)
    same_words = pictures(studio, regions=tuple(RegionPrompt(WANTED.prompt, r) for r in (left, right)))
    assert far(same_words, plain) <= 2
    long = pictures(studio, regions=(RegionPrompt(", ".join(["an old woman"] * 40), left),))
    assert far(long, plain) > 2


def test_each_region_has_the_noise_of_its_own_seed(studio):
    halves = [RegionPrompt(WANTED.prompt, Region((i / 2, 0, (i + 1) / 2, 1))) for i in (0, 1)]
    two = {"regions": tuple(halves), "apart": True, "width": 256, "height": 128}
    one, other = (pictures(studio, seeds=(seed,), **two)[0] for seed in (1, 2))
    [same_seed] = pictures(studio, seeds=(1,), region_seeds=((1, 1),), **two)
    [mixed] = pictures(studio, seeds=(1,), region_seeds=((1, 2),), **two)
    assert far([same_seed], [one]) <= 1
    for part, near, away in ((slice(None, 64), one, other), (slice(-64, None), other, one)):
        assert np.abs(mixed[:, part] - near[:, part]).mean() < 0.7 * np.abs(mixed[:, part] - away[:, part]).mean()


def test_an_error_takes_the_hooks_out(studio, file, monkeypatch):
    before = state()
    with monkeypatch.context() as broken:
        broken.setattr(sd_samplers, "predicted", lambda *_: 1 / 0)
        with pytest.raises(HostError):
            pictures(studio, LoraWeight(file, schedule=Schedule(0, 1)))
    assert same(before, state())


def test_the_panel_blends_a_style_through_hooks_and_says_how(panel, draw, person, trained):
    plain = draw().pixels
    before = state()
    plan = "face 1 + style 0.8 blocks 1*3|0*19|1*3"
    given = {"person": person, "style": "charcoal", "face_weight": 1.0, "blend": plan}
    drawn = panel(True, given, width=64, height=64)
    assert "<lora:" not in drawn.info["prompt"]
    assert infotext_utils.parse_generation_parameters(drawn.infotexts[0])["FaceChain blend"] == plan
    assert panel(True, given, width=64, height=64).pixels == drawn.pixels
    summed = panel(True, {**given, "blend": "sum"}, width=64, height=64)
    assert summed.info["prompt"].count("<lora:") == 2
    assert summed.pixels != drawn.pixels
    # The slider: all for the person is the face LoRA alone, led to as beside a style.
    ways = ({"blend": "", "balance": 1.0}, {"blend": "face 1 guided 2 + style 0"})
    me, alone = (panel(True, {**given, **way}, width=64, height=64) for way in ways)
    bytes_of = [np.frombuffer(one.pixels[0], np.uint8).astype(int) for one in (me, alone)]
    assert np.abs(bytes_of[0] - bytes_of[1]).max() <= 2
    # Weights that the host's own loader merged it takes out at the next picture only.
    assert before[:2] == state()[:2]
    assert draw().pixels == plain
