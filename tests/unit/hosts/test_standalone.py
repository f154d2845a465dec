"""The standalone host: offline, prompts of any length, every seed its own picture, LoRAs as other programs see them."""

from __future__ import annotations

import socket
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.blend import Region, Schedule
from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.standalone import blending
from facechain_ext.hosts.standalone.checkpoints import SHIPPED, StandaloneCheckpoints
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.hosts.standalone.prompts import encode, matched
from facechain_ext.hosts.standalone.webui_copy import copy_to_webui
from facechain_ext.lora.files import LoraFile, LoraOrigin, read_lora, write
from facechain_ext.lora.kinds import DoraModule
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.merge import merged
from facechain_ext.lora.naming import unet_targets
from facechain_ext.ports import Family, LoraWeight, Prediction, RegionPrompt, SamplingRequest
from facechain_ext.progress import CancelToken, silent
from facechain_ext.workspace import Workspace
from tests.unit.training.host_state import snapshot

TINY = SHIPPED / "tiny-faces.safetensors"
ORIGIN = LoraOrigin("test", Family.SD1, Prediction.EPS, "tiny-faces", "0" * 64, 4.0, 4, 1, 64, "sks", ["sks"], 1)


def request(seeds=(1, 2), loras=(), **changes):
    values = {"negative": "", "width": 64, "height": 64, "steps": 3, "cfg": 3.0, "sampler": "DDIM"} | changes
    return SamplingRequest("photo of sks person", values.pop("negative"), seeds, loras=loras, **values)


def images(host, wanted):
    return list(host.generate(wanted, silent, CancelToken()))


@pytest.fixture(scope="module")
def lora(host, tmp_path_factory):
    """A random LoRA on all 192 linear layers, strong enough to be seen."""
    draw = torch.Generator().manual_seed(4)
    unet = host.parts().unet
    state = {}
    for path, name in unet_targets([p for p, _ in unet.named_modules()], Family.SD1).items():
        weight = unet.get_submodule(path).weight
        down = torch.randn(4, *weight.shape[1:], generator=draw) * weight[0].numel() ** -0.5
        up = torch.randn(weight.shape[0], 4, *[1] * (weight.ndim - 2), generator=draw) * 0.1
        state[name] = (down, up)
    file = tmp_path_factory.mktemp("lora") / "test.safetensors"
    write(file, state, ORIGIN)
    return file


def test_loading_opens_no_connection(monkeypatch):
    def refused(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert StandaloneHost(TINY).parts().unet.config.cross_attention_dim == 64


def test_a_seeds_picture_does_not_depend_on_its_batch(host):
    together = images(host, request((5, 6, 7)))
    for i, seed in enumerate((5, 6, 7)):
        alone = images(host, request((seed,)))[0]
        # Other batch sizes take other matrix kernels, so the last bit of a pixel may differ.
        assert np.abs(alone.astype(int) - together[i]).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 5


@pytest.mark.parametrize("sampler", ["DPM++ 2M Karras", "Euler", "Euler a", "DDIM", "UniPC"])
def test_every_sampler_repeats_itself(host, sampler):
    first, again = (images(host, request((3,), sampler=sampler))[0] for _ in range(2))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, again)
    assert first.std() > 5


def test_long_prompts_take_more_chunks(host):
    parts = host.parts()
    short, long = encode(parts, ["a face"]), encode(parts, [", ".join(["a face"] * 60)])
    assert short.shape == (1, 77, 64)
    assert long.shape[1] in (77 * 2, 77 * 3)
    a, b = matched([short, long])
    assert a.shape == b.shape
    assert torch.equal(a[:, :77], a[:, 77:154])
    both = encode(parts, ["a face", ", ".join(["a face"] * 60)])
    assert torch.allclose(both[1], long[0], atol=1e-4)
    assert len(images(host, request((1,), negative=", ".join(["blurred"] * 90)))) == 1


def test_words_matter(host):
    plain = images(host, request((1,)))[0]
    other = SamplingRequest("sepia photo of sks person", "", (1,), 64, 64, 3, 3.0, "DDIM")
    assert np.abs(plain.astype(int) - images(host, other)[0]).mean() > 1


def test_a_lora_acts_and_is_taken_out(host, lora):
    before, plain = snapshot(host), images(host, request())
    with_lora = images(host, request(loras=(LoraWeight(lora),)))
    assert np.abs(with_lora[0].astype(int) - plain[0]).mean() > 2
    assert np.array_equal(images(host, request())[0], plain[0])
    half = images(host, request(loras=(LoraWeight(lora, 0.0, 0.0),)))
    assert np.array_equal(half[0], plain[0])
    assert snapshot(host) == before


def test_leaving_half_way_takes_the_lora_out(host, lora):
    before = snapshot(host)
    pictures = host.generate(request(loras=(LoraWeight(lora),)), silent, CancelToken())
    next(pictures)
    pictures.close()
    assert snapshot(host) == before


def test_diffusers_loads_our_file_and_paints_the_same_picture(host, lora):
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    ours = images(host, request((9,), loras=(LoraWeight(lora),), steps=6, sampler="Euler"))[0]
    parts = StandaloneHost(TINY).parts()
    pipe = StableDiffusionPipeline(
        parts.vae,
        parts.text_encoder,
        parts.tokenizer,
        parts.unet,
        EulerDiscreteScheduler.from_config(parts.scheduler_config, timestep_spacing="linspace"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)

    def painted():
        noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(9))
        made = pipe("photo of sks person", width=64, height=64, num_inference_steps=6, guidance_scale=3.0, latents=noise, output_type="np")
        return np.round(made.images[0] * 255).astype(int)

    plain = painted()
    pipe.load_lora_weights(str(lora.parent), weight_name=lora.name, local_files_only=True)
    assert sum("lora_A" in n for n, _ in pipe.unet.named_modules() if n.endswith("lora_A")) == 192
    theirs = painted()
    assert np.abs(theirs - ours.astype(int)).max() <= 2
    assert np.abs(theirs - plain).mean() > 2


def test_a_lora_of_another_family_or_size_is_refused(host, tmp_path):
    before = snapshot(host)
    xl = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    write(tmp_path / "xl.safetensors", {xl: (torch.zeros(4, 8), torch.zeros(8, 4))}, replace(ORIGIN, family=Family.SDXL))
    with pytest.raises(FileFormatError, match="same family"):
        images(host, request(loras=(LoraWeight(tmp_path / "xl.safetensors"),)))
    big = "lora_unet_mid_block_attentions_0_proj_in"
    write(tmp_path / "big.safetensors", {big: (torch.zeros(4, 1280), torch.zeros(1280, 4))}, ORIGIN)
    with pytest.raises(FileFormatError, match="layers of other sizes"):
        images(host, request(loras=(LoraWeight(tmp_path / "big.safetensors"),)))
    write(tmp_path / "none.safetensors", {"lora_unet_elsewhere": (torch.zeros(4, 8), torch.zeros(8, 4))}, ORIGIN)
    with pytest.raises(FileFormatError, match="fits no layer"):
        images(host, request(loras=(LoraWeight(tmp_path / "none.safetensors"),)))
    assert snapshot(host) == before


def test_checkpoints_are_found_by_name_and_path(tmp_path):
    own = Workspace(tmp_path).checkpoints
    own.mkdir(parents=True)
    (own / "mine.safetensors").write_bytes(TINY.read_bytes())
    known = StandaloneCheckpoints(Workspace(tmp_path))
    assert [(c.name, c.default) for c in known.choices()] == [("tiny-faces", True), ("mine", False)]
    assert known.find("mine").path == own / "mine.safetensors"
    assert known.find(str(TINY)).path == TINY
    assert known.find(None).name == "tiny-faces"
    assert known.open("tiny-faces") is known.open(None)


def test_a_copy_for_a_webui_is_complete(tmp_path):
    (tmp_path / "models" / "Stable-diffusion").mkdir(parents=True)
    target = copy_to_webui(TINY, tmp_path)
    assert target.read_bytes() == TINY.read_bytes()
    text = target.with_suffix(".yaml").read_text()
    clip = tmp_path / "models" / "FaceChain" / "clip-tiny-faces"
    assert clip.as_posix() in text
    assert "@CLIP_FOLDER@" not in text
    assert {p.name for p in clip.iterdir()} >= {"config.json", "vocab.json", "merges.txt", "tokenizer_config.json"}


def test_schedules_and_regions_act_and_are_taken_out(host, lora):
    before, plain = snapshot(host), images(host, request())
    static = images(host, request(loras=(LoraWeight(lora, 0.7),)))
    # A region that is the whole picture: through hooks, but the same.
    whole = images(host, request(loras=(LoraWeight(lora, 0.7, region=Region((0, 0, 1, 1))),)))
    assert np.abs(whole[0].astype(int) - static[0]).max() <= 2
    late = images(host, request(loras=(LoraWeight(lora, 0.7, schedule=Schedule(0, 1, 0.4, 0.6)),)))
    assert np.abs(late[0].astype(int) - static[0]).mean() > 0.5
    assert np.abs(late[0].astype(int) - plain[0]).mean() > 0.5
    halves = (Region((0, 0, 0.5, 1)), Region((0.5, 0, 1, 1)))
    words = replace(request(), regions=tuple(RegionPrompt("photo of sks person", r) for r in halves))
    assert np.abs(images(host, words)[0].astype(int) - plain[0]).max() <= 2
    unhurried = host.generate(request(loras=(LoraWeight(lora, region=halves[0]),)), silent, CancelToken())
    next(unhurried)
    unhurried.close()
    assert np.array_equal(images(host, request())[0], plain[0])
    assert snapshot(host) == before


def test_a_lora_that_stays_the_same_is_merged_beside_one_that_moves(host, lora, monkeypatch):
    before, hooked = snapshot(host), []

    class Watched(LiveBlend):
        def __init__(self, modules, loras, *args, **kwargs):
            hooked.append([weight.unet for _, weight in loras])
            super().__init__(modules, loras, *args, **kwargs)

    monkeypatch.setattr(blending, "LiveBlend", Watched)
    wanted = request(loras=(LoraWeight(lora, 0.4, blocks=(0.5,) * 25), LoraWeight(lora, 0.3, schedule=Schedule(0, 1, 0.2, 0.8))))
    parted = images(host, wanted)
    with monkeypatch.context() as patched:
        patched.setattr(blending, "_parted", lambda loras, unet: ([], loras))
        together = images(host, wanted)
    assert hooked == [[0.3], [0.4, 0.3]]
    assert np.abs(parted[0].astype(int) - together[0]).max() <= 2
    assert np.abs(parted[0].astype(int) - images(host, replace(wanted, loras=wanted.loras[1:]))[0]).max() > 5
    assert snapshot(host) == before
    # DoRA's lengths look at the layer's own output: nothing may be merged under them.
    update = next(iter(read_lora(lora).modules.values()))
    lengths = LoraFile("d", Family.SD1, {"x": DoraModule(update, torch.ones(8, 1))}, {})
    pairs = [(lengths, wanted.loras[1]), (read_lora(lora), wanted.loras[0])]
    assert blending._parted(pairs, {}) == ([], pairs)
    assert blending._parted(pairs[::-1], {}) == ([], pairs[::-1])
    assert blending._parted([(lengths, wanted.loras[0])], {}) == ([(lengths, wanted.loras[0])], [])


def test_where_memory_is_short_nothing_is_merged(host, lora, monkeypatch):
    """Merging keeps a copy of every weight it changes."""
    before, wanted, kept = snapshot(host), request(loras=(LoraWeight(lora, 0.7),)), []

    def counted(modules, loras, *args):
        kept.append(len(loras))
        return merged(modules, loras, *args)

    monkeypatch.setattr(blending, "merged", counted)
    usual = images(host, wanted)
    monkeypatch.setattr(blending, "free_bytes", lambda device: 2**20)
    short = images(host, wanted)
    monkeypatch.setattr(blending, "free_bytes", lambda device: None)
    unknown = images(host, wanted)
    # The UNet's part and the text encoder's, which is small and merged always.
    assert kept == [1, 1, 0, 1, 1, 1]
    assert np.abs(short[0].astype(int) - usual[0]).max() <= 2
    assert np.array_equal(unknown[0], usual[0])
    assert snapshot(host) == before
