"""What every ImageGenerator must keep to; a generator under test is a factory in ``GENERATORS``."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from facechain_ext.errors import Cancelled, FileFormatError
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.ports import LoraWeight, SamplingRequest
from facechain_ext.progress import CancelToken, Stage, silent

GENERATORS = {"standalone": lambda: StandaloneHost(SHIPPED / "tiny-faces.safetensors")}


@pytest.fixture(scope="module", params=list(GENERATORS))
def generator(request):
    return GENERATORS[request.param]()


def wanted(**changes):
    values = {"seeds": (1, 2, 3), "width": 64, "height": 96, "steps": 2, "loras": ()} | changes
    return SamplingRequest("a face", "", values["seeds"], values["width"], values["height"], values["steps"], 3.0, "DDIM", values["loras"])


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
