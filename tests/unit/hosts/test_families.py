"""SD2 and SDXL in the standalone host: encoded as the raw weights say, trained by the one loop, and their LoRA files drawn by diffusers' own pipelines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file
from torch.nn.functional import gelu, layer_norm, linear, multi_head_attention_forward

from facechain_ext.config import TrainConfig
from facechain_ext.hosts.standalone.blending import text_modules
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.hosts.standalone.inspection import inspect
from facechain_ext.hosts.standalone.loading import write_config
from facechain_ext.hosts.standalone.sidecar import read_sidecar
from facechain_ext.lora.adapters import UP
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin, read_lora
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family, LoraWeight, Prediction, SamplingRequest
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.adapted import adapted
from facechain_ext.training.loop import Watch, train
from tests.conftest import make_dataset
from tests.contract.hosts import tiny
from tests.tiny_checkpoints import KINDS, write
from tests.unit.training.host_state import snapshot

START, END = 49406, 49407
PROMPT = "photo of sks person, smiling"
CONFIG = TrainConfig(
    steps=3, rank=4, alpha=4, batch=2, learning_rate=2e-2, text_encoder_rate=2e-2, warmup=0, targets="conv", previews=0, keep="last"
)


@pytest.fixture(scope="module", params=KINDS)
def host(request):
    return StandaloneHost(tiny(request.param))


@pytest.fixture(scope="module")
def sdxl():
    return StandaloneHost(tiny("sdxl"))


def open_clip(weights, prefix, ids, heads):
    """OpenCLIP's text transformer on the file's own tensors: what goes into each layer and comes out of the last, (B, 77, C) each."""
    w = {k.removeprefix(prefix): v.float() for k, v in weights.items() if k.startswith(prefix)}
    x = (w["token_embedding.weight"][ids] + w["positional_embedding"]).transpose(0, 1)
    mask, wide = torch.full((77, 77), float("-inf")).triu(1), x.shape[-1]
    states = [x]
    for number in range(sum(k.endswith(".ln_1.weight") for k in w)):
        b = {k.removeprefix(f"transformer.resblocks.{number}."): v for k, v in w.items() if f"resblocks.{number}." in k}
        y = layer_norm(x, (wide,), b["ln_1.weight"], b["ln_1.bias"])
        projections = (b["attn.in_proj_weight"], b["attn.in_proj_bias"], None, None, False, 0.0)
        out = (b["attn.out_proj.weight"], b["attn.out_proj.bias"])
        x = x + multi_head_attention_forward(y, y, y, wide, heads, *projections, *out, training=False, attn_mask=mask)[0]
        y = layer_norm(x, (wide,), b["ln_2.weight"], b["ln_2.bias"])
        y = gelu(linear(y, b["mlp.c_fc.weight"], b["mlp.c_fc.bias"]))
        x = x + linear(y, b["mlp.c_proj.weight"], b["mlp.c_proj.bias"])
        states.append(x)
    return [s.transpose(0, 1) for s in states], w


def rows(parts, prompt, pad):
    """The prompt as one chunk of 77 ids."""
    words = parts.tokenizer(prompt, add_special_tokens=False).input_ids
    return torch.tensor([[START, *words, END, *[pad] * (75 - len(words))]])


def test_sd2s_context_is_open_clips_last_layer_but_one_with_the_norm():
    host = StandaloneHost(tiny("sd2"))
    states, w = open_clip(load_file(tiny("sd2")), "cond_stage_model.model.", rows(host.parts(), PROMPT, 0), heads=1)
    wanted = layer_norm(states[-2], (64,), w["ln_final.weight"], w["ln_final.bias"])
    with host.open_session() as session:
        found = session.encode_prompts([PROMPT], [(64, 64)])
    assert found.pooled is None
    assert torch.allclose(found.context, wanted, atol=1e-4)


def test_sdxls_conditioning_is_both_encoders_and_the_pooled_second(sdxl):
    from transformers import CLIPTextConfig, CLIPTextModel

    weights = load_file(tiny("sdxl"))
    states, w = open_clip(weights, "conditioner.embedders.1.model.", rows(sdxl.parts(), PROMPT, 0), heads=2)
    end = 1 + len(sdxl.parts().tokenizer(PROMPT, add_special_tokens=False).input_ids)
    pooled = layer_norm(states[-1], (128,), w["ln_final.weight"], w["ln_final.bias"])[:, end] @ w["text_projection"]
    first = CLIPTextModel(
        CLIPTextConfig(hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=1, vocab_size=49408)
    )
    prefix = "conditioner.embedders.0.transformer.text_model."
    mine = {k.removeprefix(prefix): v.float() for k, v in weights.items() if k.startswith(prefix)}
    theirs = {k: mine[k.removeprefix("text_model.")] for k in first.state_dict() if "position_ids" not in k}
    first.load_state_dict(theirs, strict=False)
    with torch.no_grad():
        hidden = first.eval()(rows(sdxl.parts(), PROMPT, END), output_hidden_states=True).hidden_states[-2]
    with sdxl.open_session() as session:
        found = session.encode_prompts([PROMPT, "a face"], [(64, 96), (64, 64)])
    assert found.pooled is not None
    assert found.size_ids is not None
    assert torch.allclose(found.context[:1], torch.cat([hidden, states[-2]], -1), atol=1e-4)
    assert torch.allclose(found.pooled[:1], pooled, atol=1e-4)
    assert found.size_ids.tolist() == [[96, 64, 0, 0, 96, 64], [64, 64, 0, 0, 64, 64]]


def test_long_prompts_take_chunks_and_the_first_ones_pooled_text(sdxl):
    long = ", ".join(["a face"] * 60)
    with sdxl.open_session() as session:
        found, short = (session.encode_prompts([p], [(64, 64)]) for p in (long, "a face, " * 25))
    assert found.context.shape[1] in (77 * 2, 77 * 3)
    assert found.context.shape[2] == 64 + 128
    assert torch.allclose(found.pooled, short.pooled, atol=1e-4), "25 times three tokens are the first chunk"


@pytest.mark.parametrize("prediction", list(Prediction))
def test_a_perfect_answer_has_no_loss(prediction, tmp_path):
    """Whatever the loop asks for: an answer that gives back exactly the photo's latents is right."""
    host = StandaloneHost(write("sdxl", tmp_path, prediction=prediction.value, zero_terminal_snr=prediction is Prediction.V))
    with host.open_session() as session:
        encoded, dataset = session.encode_images, make_dataset(1)
        latents = []

        def certain(images):
            mean, std = encoded(images)
            latents.append(mean)
            return mean, torch.zeros_like(std)

        def perfect(noisy, timesteps, _):
            a = session.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            known = latents[-1].expand_as(noisy)
            noise = (noisy - a.sqrt() * known) / (1 - a).sqrt()
            answer = noise if prediction is Prediction.EPS else a.sqrt() * noise - (1 - a).sqrt() * known
            return (answer + 0 * session.unet.conv_in.weight.sum()).requires_grad_()

        session.encode_images, session.predict = certain, perfect
        outcome = train(
            session, dataset, replace(CONFIG, text_encoder_rate=0), tmp_path / "t", Watch(silent, CancelToken(), lambda _: None)
        )
    assert max(point.loss for point in outcome.curve) < 1e-6


@pytest.fixture(scope="module")
def trained(host, tmp_path_factory):
    """A LoRA on UNet and text encoders after some real steps, its file, and its picture with the adapter itself in the model."""
    folder, info = tmp_path_factory.mktemp("trained"), host.checkpoint
    # transformers puts hooks into a text encoder when its hidden states are asked for first, and leaves them there.
    picture(host, wanted(steps=1))
    before = snapshot(host)
    with host.open_session() as session:
        outcome = train(session, make_dataset(), CONFIG, folder / "t", Watch(silent, CancelToken(), lambda _: None))
        with adapted(session, CONFIG) as adapter:
            adapter.load_state(outcome.adapter)
            [live] = session.preview(wanted(), CancelToken())
    assert snapshot(host) == before
    file = folder / "trained.safetensors"
    origin = LoraOrigin("trained", info.family, info.prediction, info.name, info.sha256, 4.0, 4, 3, 64, "sks", ["sks"], 1)
    write_adapter(file, outcome.adapter, origin, Kind.LORA, "conv", dtype=torch.float32)
    return outcome, file, live.astype(int)


def wanted(**changes):
    values = {"prompt": PROMPT, "negative": "blurred", "seeds": (9,), "width": 64, "height": 64, "steps": 6, "cfg": 3.0, "sampler": "Euler"}
    return SamplingRequest(**(values | changes))


def picture(host, request):
    return next(iter(host.generate(request, silent, CancelToken()))).astype(int)


def test_training_reaches_every_layer_and_its_file_fits_them_all(host, trained):
    outcome, file, _ = trained
    lora = read_lora(file)
    assert lora.family is host.checkpoint.family
    assert lora.unread == ()
    assert set(lora.modules) == set(outcome.adapter)
    silent_ones = [name for name, tensors in outcome.adapter.items() if not float(tensors[UP].abs().max()) > 0]
    assert silent_ones == []
    words = {name for name in outcome.adapter if name.startswith("lora_te")}
    everything = set(text_modules(host.parts()))
    # SDXL's first encoder is read before its last layer; SD2's last one is not even loaded.
    unused = {name for name in everything if name.startswith("lora_te1_") and "_layers_2_" in name}
    assert words == everything - unused
    assert {name.split("_text_model")[0] for name in words} == (
        {"lora_te1", "lora_te2"} if host.checkpoint.family is Family.SDXL else {"lora_te"}
    )


def test_our_generator_draws_what_training_showed(host, trained):
    _, file, live = trained
    ours, plain = picture(host, wanted(loras=(LoraWeight(file),))), picture(host, wanted())
    assert np.abs(ours - live).max() <= 2
    assert np.abs(plain - live).mean() > 2
    no_words = picture(host, wanted(loras=(LoraWeight(file, text=0.0),)))
    assert np.abs(no_words - live).mean() > 0.5


@pytest.mark.parametrize("negative", ["blurred", ""])
def test_diffusers_own_pipeline_draws_it_too(host, trained, negative, tmp_path):
    """``load_lora_weights`` of our file, text encoders included, and the pipeline's own encoding, guidance and decoding."""
    import diffusers
    from transformers import CLIPTokenizer

    _, file, _ = trained
    ours = picture(host, wanted(loras=(LoraWeight(file),), negative=negative))
    checkpoint = tiny(host.checkpoint.name.removeprefix("tiny-"))
    parts = StandaloneHost(checkpoint).parts()
    scheduler = diffusers.EulerDiscreteScheduler.from_config(parts.scheduler_config, timestep_spacing="linspace")
    write_config(tmp_path, *inspect(checkpoint), read_sidecar(checkpoint))
    second = "tokenizer_2" if parts.family is Family.SDXL else "tokenizer"
    padded = CLIPTokenizer.from_pretrained(tmp_path / second)
    assert padded.pad_token_id == 0
    if parts.family is Family.SDXL:
        arguments = (parts.vae, parts.text_encoder, parts.text_encoder_2, parts.tokenizer, padded, parts.unet, scheduler)
        pipe = diffusers.StableDiffusionXLPipeline(*arguments, add_watermarker=False)
    else:
        pipe = diffusers.StableDiffusionPipeline(
            parts.vae, parts.text_encoder, padded, parts.unet, scheduler, None, None, requires_safety_checker=False
        )
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)

    # SDXL's pipeline shows zeros for no negative prompt, not for an empty one.
    unwanted = None if parts.family is Family.SDXL and not negative else negative
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(9))
    made = pipe(
        PROMPT, negative_prompt=unwanted, width=64, height=64, num_inference_steps=6, guidance_scale=3.0, latents=noise, output_type="np"
    )
    assert np.abs(np.round(made.images[0] * 255).astype(int) - ours).max() <= 2
