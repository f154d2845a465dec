"""A trained adapter of each kind, from its file: our own host makes the pictures that training showed, and diffusers those of kinds it knows."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family, LoraWeight, Prediction, SamplingRequest
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.adapted import adapted

TINY = SHIPPED / "tiny-faces.safetensors"
WANTED = SamplingRequest("photo of sks person", "", (9,), 64, 64, 6, 3.0, "Euler")


@pytest.fixture(scope="module", params=list(Kind), ids=str)
def made(request, tmp_path_factory):
    """The host, the kind, the file of a random adapter on all that can be adapted, and its picture with the adapter itself in the model."""
    host, kind = StandaloneHost(TINY), request.param
    config = TrainConfig(kind=kind.value, targets="conv", rank=4, alpha=3.0, text_encoder_rate=1e-4, text_rank=2)
    file = tmp_path_factory.mktemp("kinds") / f"{kind.value}.safetensors"
    with host.open_session() as session, adapted(session, config) as adapter:
        draw = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.03)
        live = next(iter(session.preview(WANTED, CancelToken())))
        origin = LoraOrigin(kind.value, Family.SD1, Prediction.EPS, "tiny", "0" * 64, 3.0, 4, 1, 64, "sks", ["sks"], 1)
        write_adapter(file, adapter.state(), origin, kind, "conv")
    return host, kind, file, live.astype(int)


def test_our_host_makes_the_picture_training_showed(made):
    host, _, file, live = made
    plain = next(iter(host.generate(WANTED, silent, CancelToken()))).astype(int)
    again = next(iter(host.generate(SamplingRequest(**{**_fields(WANTED), "loras": (LoraWeight(file),)}), silent, CancelToken()))).astype(int)
    assert np.abs(live - plain).mean() > 2
    # The file is in half precision.
    assert np.abs(again - live).mean() < 0.05 * np.abs(live - plain).mean()
    assert np.array_equal(next(iter(host.generate(WANTED, silent, CancelToken()))), plain)


def _fields(request: SamplingRequest) -> dict[str, object]:
    return {name: getattr(request, name) for name in SamplingRequest.__dataclass_fields__}


def test_diffusers_makes_it_too(made):
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    _, kind, file, live = made
    if kind not in (Kind.LORA, Kind.RSLORA):
        pytest.skip("diffusers reads neither LoHa nor LoKr in this format, and DoRA with a magnitude for each output only")
    parts = StandaloneHost(TINY).parts()
    scheduler = EulerDiscreteScheduler.from_config(parts.scheduler_config, timestep_spacing="linspace")
    pipe = StableDiffusionPipeline(
        parts.vae, parts.text_encoder, parts.tokenizer, parts.unet, scheduler, None, None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)

    def painted():
        noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(9))
        shown = pipe("photo of sks person", width=64, height=64, num_inference_steps=6, guidance_scale=3.0, latents=noise, output_type="np")
        return np.round(shown.images[0] * 255).astype(int)

    plain = painted()
    pipe.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
    assert np.abs(painted() - live).mean() < 0.05 * np.abs(live - plain).mean()
