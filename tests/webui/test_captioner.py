"""The WebUI's own captioners: found only with their weights, asked in its queue, and everything put back."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch
from modules import call_queue, paths_internal, shared

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import Cancelled, HostError, UserInputError
from facechain_ext.hosts.a1111.captioner import captioner, without_person
from facechain_ext.progress import CancelToken
from facechain_ext.services.requests import PrepareRequest

PICTURES = [np.full((64, 64, 3), level, np.uint8) for level in (30, 220)]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Lets a captioner's file be there."""
    monkeypatch.setattr(paths_internal, "models_path", str(tmp_path))

    def there(folder: str, name: str) -> None:
        file = Path(tmp_path) / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")

    return there


class Danbooru:
    """As modules/deepbooru.py's model: on the GPU between start and stop, draws no random numbers, must be asked inside the queue."""

    def __init__(self):
        self.log, self.fails = [], False

    def start(self):
        assert call_queue.queue_lock.owner is not None
        self.log.append("start")

    def stop(self):
        self.log.append("stop")

    def tag_multi(self, picture, force_disable_ranks=False):
        if self.fails:
            raise RuntimeError("CUDA error")
        torch.rand(1)
        return "outdoors, red shirt" if np.asarray(picture).mean() > 60 else ""


@pytest.fixture
def danbooru(weights, monkeypatch):
    import sys

    weights("torch_deepdanbooru", "model-resnet_custom_v3.pt")
    module = types.ModuleType("modules.deepbooru")
    module.model = Danbooru()
    monkeypatch.setitem(sys.modules, "modules.deepbooru", module)
    monkeypatch.setattr(sys.modules["modules"], "deepbooru", module, raising=False)
    return module.model


def test_without_weights_there_is_none_and_nothing_is_fetched(weights):
    assert captioner() is None


def test_deepdanbooru_is_asked_once_for_all_and_stopped(danbooru):
    before = torch.get_rng_state()
    found = captioner()
    assert found.name == "DeepDanbooru"
    assert found.tags(PICTURES, CancelToken()) == [[], ["outdoors", "red shirt"]]
    assert danbooru.log == ["start", "stop"]
    assert torch.equal(torch.get_rng_state(), before)


def test_its_failure_is_a_sentence_and_leaves_it_stopped(danbooru):
    danbooru.fails = True
    with pytest.raises(HostError, match=r"DeepDanbooru failed .*Choose 'described'"):
        captioner().tags(PICTURES, CancelToken())
    assert danbooru.log == ["start", "stop"]
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        captioner().tags(PICTURES, token)
    assert danbooru.log == ["start", "stop"] * 2


def test_blip_without_clip_and_as_it_was(weights, monkeypatch):
    weights("BLIP", "model_base_caption_capfilt_large.pth")
    log = []

    class Blip(torch.nn.Linear):
        def to(self, device):
            log.append(str(device))
            return self

    def say(picture):
        assert interrogator.dtype is torch.float32
        return "a woman in a red shirt standing in front of a wall"

    interrogator = types.SimpleNamespace(
        blip_model=None, dtype=None, load_blip_model=lambda: Blip(1, 1), generate_caption=say, send_blip_to_ram=lambda: log.append("ram")
    )
    monkeypatch.setattr(shared, "interrogator", interrogator, raising=False)
    from modules import devices

    monkeypatch.setattr(devices, "device_interrogate", "cpu", raising=False)
    assert captioner().tags(PICTURES[:1], CancelToken()) == [["in a red shirt standing in front of a wall"]]
    assert (interrogator.blip_model, interrogator.dtype) == (None, None)
    own = interrogator.blip_model = Blip(1, 1)
    captioner().tags(PICTURES[:1], CancelToken())
    assert interrogator.blip_model is own
    assert log[-1] == "ram"


@pytest.mark.parametrize(
    ("sentence", "rest"),
    [
        ("a man with a beard on a beach", ["with a beard on a beach"]),
        ("there is a young woman standing under a tree", ["standing under a tree"]),
        ("a woman", []),
        ("mountains in the distance", []),
    ],
)
def test_blips_beginning_is_left_out(sentence, rest):
    assert without_person(sentence) == rest


def test_the_page_hears_that_there_is_none_before_a_photo_is_read(studio, photos, weights):
    with pytest.raises(UserInputError, match="No captioner of the WebUI is installed"):
        studio.prepare(PrepareRequest("Nobody", tuple(photos), PrepareConfig(resolution=64, captions="host")))
    assert not studio.workspace.person("Nobody").exists()


def test_its_tags_reach_the_dataset(studio, photos, danbooru):
    done = studio.prepare(PrepareRequest("Captioned", tuple(photos[:2]), PrepareConfig(resolution=64, crop_scale=1.5, captions="host")))
    assert all("photo of sks person" in v.caption for v in done.verdicts)
    assert any("outdoors" in v.caption for v in done.verdicts)
    assert danbooru.log == ["start", "stop"]
    studio.delete_person("Captioned")
