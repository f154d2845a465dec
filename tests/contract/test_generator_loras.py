"""How every ImageGenerator treats seeds, LoRAs and interruptions; generators are those of ``hosts``."""

from __future__ import annotations

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.blend import Region
from facechain_ext.errors import UserInputError
from facechain_ext.lora.files import LoraOrigin, write
from facechain_ext.ports import LoraWeight, Prediction, RegionPrompt, SamplingRequest
from facechain_ext.progress import CancelToken, silent
from tests.contract.hosts import HOSTS


@pytest.fixture(scope="module", params=list(HOSTS))
def generator(request):
    return HOSTS[request.param]()


@pytest.fixture(scope="module")
def loras(generator, tmp_path_factory):
    """Two random LoRAs that fit the checkpoint; sizes are taken from a session of the same host."""
    folder = tmp_path_factory.mktemp("loras")
    with generator.open_session() as session:
        sizes = {name: tuple(session.unet.get_submodule(path).weight.shape) for path, name in session.lora_targets().items()}
    files = []
    for number in (1, 2):
        draw = torch.Generator().manual_seed(number)
        state = {
            name: (
                torch.randn(2, *size[1:], generator=draw) * float(np.prod(size[1:])) ** -0.5,
                torch.randn(size[0], 2, *[1] * (len(size) - 2), generator=draw) * 0.1,
            )
            for name, size in sizes.items()
        }
        name = f"random-{number}"
        origin = LoraOrigin(name, generator.checkpoint.family, Prediction.EPS, "c", "0" * 64, 2.0, 2, 1, 64, "sks", ["sks"], 1)
        files.append(folder / f"{name}.safetensors")
        write(files[-1], state, origin)
    return files


def wanted(seeds=(1, 2), loras=(), **changes):
    values = {"prompt": "a face", "negative": "", "width": 64, "height": 64, "steps": 2, "cfg": 3.0, "sampler": "DDIM"} | changes
    return SamplingRequest(seeds=seeds, loras=tuple(loras), **values)


def images(generator, request):
    return [p.astype(int) for p in generator.generate(request, silent, CancelToken())]


def alike(a, b) -> bool:
    """But for the last bit, which other batch sizes may round otherwise."""
    return all(np.abs(x - y).max() <= 1 for x, y in zip(a, b, strict=True))


def test_a_seeds_image_depends_on_no_neighbour(generator):
    a, b, c = images(generator, wanted((5, 6, 7)))
    assert alike(images(generator, wanted((7, 5))), [c, a])
    assert alike(images(generator, wanted((6,))), [b])
    assert alike(images(generator, wanted((5, 5))), [a, a])


def test_the_global_random_numbers_decide_nothing_and_stay(generator):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state()
    first = images(generator, wanted())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert alike(images(generator, wanted()), first)


def test_a_lora_acts_for_its_own_call_only(generator, loras):
    plain = images(generator, wanted())
    with_lora = images(generator, wanted(loras=[LoraWeight(loras[0])]))
    assert np.abs(with_lora[0] - plain[0]).mean() > 1
    assert alike(images(generator, wanted()), plain)


def test_weights_scale_and_loras_add_up(generator, loras):
    first, second = loras
    plain = images(generator, wanted())
    full = images(generator, wanted(loras=[LoraWeight(first)]))
    assert alike(images(generator, wanted(loras=[LoraWeight(first, 0.0, 0.0)])), plain)
    assert alike(images(generator, wanted(loras=[LoraWeight(first, 0.5, 0.5)] * 2)), full)
    assert alike(images(generator, wanted(loras=[LoraWeight(first), LoraWeight(second, 0.0)])), full)
    both = images(generator, wanted(loras=[LoraWeight(first), LoraWeight(second)]))
    swapped = images(generator, wanted(loras=[LoraWeight(second), LoraWeight(first)]))
    assert alike(both, swapped)
    assert np.abs(both[0] - full[0]).mean() > 1


def test_a_lora_without_text_layers_ignores_the_text_weight(generator, loras):
    one = images(generator, wanted(loras=[LoraWeight(loras[0], 1.0, 1.0)]))
    assert alike(images(generator, wanted(loras=[LoraWeight(loras[0], 1.0, 0.0)])), one)


def test_an_abandoned_call_frees_the_host_for_others(generator, loras):
    plain = images(generator, wanted((1,)))
    pictures = generator.generate(wanted(loras=[LoraWeight(loras[0])]), silent, CancelToken())
    next(pictures)
    pictures.close()
    found = []
    thread = threading.Thread(target=lambda: found.extend(images(generator, wanted((1,)))))
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert alike(found, plain)


def test_a_failing_listener_frees_the_host_and_takes_the_lora_out(generator, loras):
    plain = images(generator, wanted((1,)))

    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(generator.generate(wanted(loras=[LoraWeight(loras[0])]), fail, CancelToken()))
    assert alike(images(generator, wanted((1,))), plain)


def test_long_prompts_are_read_to_their_end(generator):
    filler = ", ".join(["photo"] * 60)
    first, second = (images(generator, wanted((1,), prompt=f"{filler}, {end}")) for end in ("a man with a beard", "an old woman"))
    assert not np.array_equal(first[0], second[0])


@pytest.mark.parametrize("sampler", ["DDIM", "Euler a"])
def test_each_region_has_the_noise_of_its_own_seed(generator, sampler):
    halves = [Region((0.0, 0.0, 0.5, 1.0), feather=0.05), Region((0.5, 0.0, 1.0, 1.0), feather=0.05)]
    side = generator.checkpoint.resolution
    two = {"regions": tuple(RegionPrompt("a face", half) for half in halves), "apart": True, "width": 2 * side, "height": side, "sampler": sampler, "steps": 6}
    one, other = images(generator, wanted((1, 2), **two))
    same, mixed = images(generator, wanted((1, 1), region_seeds=((1, 1), (1, 2)), **two))
    assert alike([one], [same])
    # Not exactly: the autoencoder looks at the whole picture.
    for part, near, far in ((slice(None, side // 2), one, other), (slice(-side // 2, None), other, one)):
        assert np.abs(mixed[:, part] - near[:, part]).mean() < 0.7 * np.abs(mixed[:, part] - far[:, part]).mean()
    with pytest.raises(UserInputError, match="one for each region"):
        images(generator, wanted((1, 2), region_seeds=((1, 2),), **two))
