"""What every ImageGenerator must keep to; generators under test are those of ``hosts``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from facechain_ext.errors import Cancelled, FileFormatError, UserInputError
from facechain_ext.ports import LoraWeight, Prediction, SamplingRequest
from facechain_ext.progress import CancelToken, Stage, silent
from tests.contract.hosts import HOSTS as GENERATORS


@pytest.fixture(scope="module", params=list(GENERATORS))
def generator(request):
    return GENERATORS[request.param]()


def wanted(**changes):
    values = {"seeds": (1, 2, 3), "width": 64, "height": 96, "steps": 2, "cfg": 3.0, "sampler": "DDIM"} | changes
    return SamplingRequest("a face", "", **values)


def test_names_its_checkpoint(generator):
    assert generator.checkpoint.name
    assert len(generator.checkpoint.sha256) == 64
    assert generator.checkpoint.resolution % 8 == 0


def test_one_image_a_seed_of_the_size_asked_for(generator):
    found = list(generator.generate(wanted(), silent, CancelToken()))
    assert [(p.shape, p.dtype) for p in found] == [((96, 64, 3), np.uint8)] * 3
    assert len({p.tobytes() for p in found}) == 3


def test_progress_grows_to_the_end(generator):
    events = []
    list(generator.generate(wanted(steps=3), events.append, CancelToken()))
    steps = [(e.step, e.total) for e in events if e.stage is Stage.GENERATE]
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_cancel_is_heard_between_steps(generator):
    token = CancelToken()
    with pytest.raises(Cancelled):
        list(generator.generate(wanted(steps=5), lambda _: token.cancel(), token))


def test_a_missing_lora_is_named(generator, tmp_path):
    with pytest.raises(FileFormatError, match=r"gone\.safetensors"):
        list(generator.generate(wanted(loras=(LoraWeight(tmp_path / "gone.safetensors"),)), silent, CancelToken()))


def skip_noise(generator) -> None:
    """Random weights that predict noise (not velocity) paint noise, which neither stays near a picture nor is dark or light."""
    info = generator.checkpoint
    if info.name.startswith("tiny-sd") and info.prediction is Prediction.EPS:
        pytest.skip("paints noise")


def test_a_picture_to_start_from_stays_the_nearer_the_less_strength(generator):
    skip_noise(generator)
    [picture] = generator.generate(wanted(seeds=(1,), steps=8), silent, CancelToken())

    def apart(strength, sampler="DDIM"):
        request = wanted(seeds=(9,), steps=8, start=(picture,), strength=strength, sampler=sampler)
        [found] = generator.generate(request, silent, CancelToken())
        assert found.shape == picture.shape
        return float(np.abs(found.astype(int) - picture).mean())

    little, much, all_of_it = apart(0.15), apart(0.6), apart(1.0)
    assert little < 0.8 * much
    assert much < all_of_it
    for sampler in ("Euler", "Euler a", "UniPC", "DPM++ 2M Karras"):
        assert apart(0.15, sampler) < 0.8 * all_of_it


def test_steps_of_a_picture_to_start_from_are_its_share_and_each_seed_has_its_own(generator):
    skip_noise(generator)
    events = []
    pictures = tuple(np.full((96, 64, 3), value, np.uint8) for value in (40, 200))
    request = wanted(seeds=(1, 2), steps=6, start=pictures, strength=0.5)
    dark, light = generator.generate(request, events.append, CancelToken())
    assert [(e.step, e.total) for e in events if e.stage is Stage.GENERATE] == [(1, 3), (2, 3), (3, 3)]
    assert dark.mean() + 30 < light.mean()


@pytest.mark.parametrize("changes", [{"seeds": (1, 2)}, {"start": (np.zeros((64, 64, 3), np.uint8),)}, {"strength": 0.0}])
def test_what_cannot_be_started_from_is_said(generator, changes):
    request = wanted(**{"seeds": (1,), "start": (np.zeros((96, 64, 3), np.uint8),), **changes})
    with pytest.raises(UserInputError):
        list(generator.generate(request, silent, CancelToken()))
