"""However a training ends, the model and the WebUI are what they were, and draw the same picture."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path

import networks
import pytest
import torch
from modules import call_queue, devices, paths_internal, sd_models, shared
from PIL import Image
from safetensors.torch import load_file

from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import Cancelled, HostError, Paused, TrainingError
from facechain_ext.hosts.a1111.session import WebuiSession
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.jobs import JobState
from facechain_ext.services.requests import PortraitRequest, TrainRequest
from facechain_ext.ui.panels import progress_panel
from tests.host.probe import look
from tests.webui.conftest import QUICK

STEP = 2
"""Of the training, at which those endings come that are asked for."""


def _fail(monkeypatch, method, number, error, *, on=False):
    """Let call ``number`` of a session's ``method`` raise, and all after it when ``on``."""
    own, calls = getattr(WebuiSession, method), []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == number or (on and len(calls) > number):
            raise error
        return own(*args, **kwargs)

    monkeypatch.setattr(WebuiSession, method, failing)


def _refused(train, expected, **settings):
    with pytest.raises(expected) as caught:
        train(**settings)
    return caught.value


def end(how, train, monkeypatch):
    """Train so that it ends that way; the result, or the sentence."""
    if how == "success":
        return train()
    if how == "everything":
        return train(kind="dora", targets="conv", text_encoder_rate=1e-4, ema=0.9, gradient_checkpointing=True)
    if how == "checkpointed":
        return train(gradient_checkpointing=True)
    if how.startswith("error"):
        method, number = how.split()[1:]
        _fail(monkeypatch, method, int(number), RuntimeError("the test's error"))
        return _refused(train, RuntimeError)
    if how in ("scarce", "memory"):
        short = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        _fail(monkeypatch, "predict", 4, short, on=how == "memory")
        if how == "scarce":
            done = train()
            assert "gradient checkpointing is on from here" in done.notes[0]
            return done
        refused = _refused(train, TrainingError)
        assert "Memory ran out" in str(refused)
        return refused
    token = CancelToken()
    act = {"cancel": token.cancel, "stop": token.stop, "pause": token.pause, "interrupt": shared.state.interrupt}[how]

    def at(step, _event):
        if step == STEP:
            act()

    if how in ("cancel", "pause"):
        return _refused(train, {"cancel": Cancelled, "pause": Paused}[how], at=at, token=token)
    return train(at, token)


ENDINGS = ("success", "everything", "checkpointed", "scarce", "memory", "cancel", "stop", "interrupt", "pause")
ERRORS = ("error encode_images 1", "error encode_prompts 1", "error predict 1", "error predict 5", "error _sample 1", "error _sample 2")


PLAIN = ("success", "error predict 5")
"""What is tried without a LoRA too; with one there is more to put back."""


@pytest.mark.parametrize(
    ("how", "lora"),
    [*((how, True) for how in (*ENDINGS, *ERRORS)), *((how, False) for how in PLAIN)],
    ids=lambda value: value if isinstance(value, str) else "after a LoRA picture" if value else "plain",
)
def test_model_and_webui_are_what_they_were(how, lora, draw, train, trained, monkeypatch):
    tag = f" <lora:{trained}:1>" if lora else ""
    plain = draw(prompt="photo of a person").pixels
    drawn = draw(prompt=f"photo of fchost man{tag}").pixels
    assert (drawn != draw(prompt="photo of fchost man").pixels) is lora
    draw(prompt=f"photo of fchost man{tag}")
    model = sd_models.model_data.sd_model
    # As after somebody's own backward pass.
    gradient = model.model.diffusion_model.out[2].weight.grad = torch.ones_like(model.model.diffusion_model.out[2].weight)
    before, objects, takes, begun = look(model), list(model.modules()), call_queue.queue_lock.takes, len(shared.state.begun)
    assert [n.name for n in networks.loaded_networks] == ([trained] if lora else [])
    assert (before["merged layers"] > 0) is lora
    # As the WebUI has loaded it: earlier trainings left nothing either.
    assert (before["requires_grad count"], before["training count"], before["gradients"]) == (686, 0, 1)
    assert (before["forward hooks"], before["instance forwards"]) == (0, [])
    params, shelf = _params(), _shelf()

    ended = end(how, train, monkeypatch)
    after = look(model)

    # No LoRA is in the weights now, so this is the digest of the whole state_dict.
    assert after.pop("merged layers") == 0
    before.pop("merged layers")
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value} == {}
    assert all(a is b for a, b in zip(model.modules(), objects, strict=True))
    assert model.model.diffusion_model.out[2].weight.grad is gradient
    model.model.diffusion_model.out[2].weight.grad = None
    assert call_queue.queue_lock.takes == takes + 1
    assert shared.state.begun[begun:] == ["FaceChain training"]
    assert _params() == params
    if isinstance(ended, Exception):
        assert str(ended)
        assert _shelf() == shelf
    else:
        assert set(_shelf()) - set(shelf) == {f"{ended.lora.stem}.{kind}" for kind in ("safetensors", "json", "png")}
    assert draw(prompt=f"photo of fchost man{tag}").pixels == drawn
    assert draw(prompt="photo of a person").pixels == plain


@pytest.fixture(params=[torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def half_precision(request, page, monkeypatch):
    """The model in half precision, as the WebUI has it on a GPU: all but the table of noise (modules/sd_models.py), computed under autocast."""
    model, dtype = sd_models.model_data.sd_model, request.param
    for name in ("dtype", "dtype_vae", "dtype_unet"):
        monkeypatch.setattr(devices, name, dtype)
    monkeypatch.setattr(devices, "autocast", lambda disable=False: torch.autocast("cpu", dtype=dtype))
    whole, table = {key: value.clone() for key, value in model.state_dict().items()}, model.alphas_cumprod
    model.to(dtype)
    model.alphas_cumprod = table
    yield dtype
    model.float()
    model.load_state_dict(whole)


def test_half_precision_is_trained_and_left_as_it_was(half_precision, train):
    model = sd_models.model_data.sd_model
    assert model.model.diffusion_model.out[2].weight.dtype is half_precision
    before, objects = look(model), list(model.modules())
    done = train(preview_every=0, previews=0, steps=12, batch=2, learning_rate=5e-3)
    after = look(model)
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value} == {}
    assert all(a is b for a, b in zip(model.modules(), objects, strict=True))
    learned = load_file(done.lora)
    assert sum(float(value.float().abs().sum()) for key, value in learned.items() if "lora_up" in key) > 1
    assert all(value.isfinite().all() for value in learned.values())


def _params():
    """The WebUI's "last prompt"."""
    return (Path(paths_internal.data_path) / "params.txt").read_text(encoding="utf8")


def _shelf():
    """What lies in the WebUI's folder of LoRAs."""
    return {file.name: file.stat().st_mtime_ns for file in Path(shared.cmd_opts.lora_dir).rglob("*") if file.is_file()}


def test_the_lora_does_not_depend_on_what_was_drawn_before(draw, train, trained):
    draw(prompt="photo of a person")
    alone = train().lora.read_bytes()
    draw(prompt=f"photo of fchost man <lora:{trained}:1>")
    after_lora = train().lora.read_bytes()
    assert _tensors(alone) == _tensors(after_lora)


def _tensors(data):
    from safetensors.torch import load

    return {key: value.float().sum().item() for key, value in load(data).items()}


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_stop_and_interrupt_keep_what_was_learned(how, train, monkeypatch):
    result = end(how, train, monkeypatch)
    assert (result.steps, result.stopped_early) == (STEP, True)
    assert result.lora.exists()
    # The last previews were drawn although Interrupt was pressed.
    assert len(result.previews) == 1
    assert result.lora.stem in networks.available_networks


def test_a_paused_training_goes_on(train, monkeypatch):
    said = end("pause", train, monkeypatch)
    assert f"step {STEP}" in str(said)
    seen = []
    whole = train(lambda step, _: seen.append(step), resume=True)
    assert seen == [3, 4, 5, 6]
    assert whole.steps == 6


def test_progress_reaches_the_webui(train):
    seen = []

    def at(step, _event):
        state = shared.state
        seen.append((state.job, state.job_count, state.job_no, state.sampling_step, state.sampling_steps, state.textinfo))
        # Held from the first step to the last, by this very thread.
        assert call_queue.queue_lock.owner is not None

    train(at)
    assert all(job == "FaceChain training" for job, *_ in seen)
    # What is shown at one step was reported at the one before; previews (at step 3) leave it alone.
    assert [row[1:5] for row in seen[1:]] == [(1, 0, step, 6) for step in range(1, 6)]
    assert seen[2][5].startswith("FaceChain: step 2 of 6, loss ")


def test_another_checkpoint_in_the_dropdown_reaches_previews_only_after_the_training(train, draw):
    own = next(info for info in sd_models.checkpoints_list.values() if info.name_for_extra == "tiny-faces")
    other = next(info for info in sd_models.checkpoints_list.values() if info is not own)
    before, loads = draw().pixels, len(sd_models.loads)
    try:

        def at(step, _event):
            if step == STEP:
                # As the dropdown does: stored at once, loaded when the queue is free (options.py:159, initialize_util.py:181).
                shared.opts.set("sd_model_checkpoint", other.title, run_callbacks=False)

        result = train(at)
        assert sd_models.loads[loads:] == []
        assert len(result.previews) == 1
        assert shared.opts.sd_model_checkpoint == other.title
        switched = draw().pixels
        assert sd_models.loads[loads:] == ["another"]
        assert switched != before
    finally:
        shared.opts.set("sd_model_checkpoint", own.title)
        assert draw().pixels == before


@pytest.mark.parametrize("known", [False, True], ids=["never set", "in config.json"])
def test_the_preview_leaves_no_option_behind(known, train):
    before = dict(shared.opts.data)
    if not known:
        shared.opts.data.pop("sd_model_checkpoint")
    data = dict(shared.opts.data)
    train()
    assert shared.opts.data == data
    shared.opts.data = before


def test_clip_skip_of_the_webui_counts(studio):
    host = studio.host(None)
    with host.open_session() as session:
        plain = session.encode_prompts(["photo of a person"], [(64, 64)]).context
    shared.opts.data["CLIP_stop_at_last_layers"] = 2
    with host.open_session() as session:
        skipped = session.encode_prompts(["photo of a person"], [(64, 64)]).context
    shared.opts.data.pop("CLIP_stop_at_last_layers")
    assert not torch.equal(plain, skipped)
    assert not plain.requires_grad


def test_latents_are_computed_where_the_model_gives_out_samples_only(studio, monkeypatch):
    """As SDXL's does: scaled, and drawn from the global generator (sgm's AutoencoderKLInferenceWrapper)."""
    photo, host = torch.rand(1, 3, 64, 64) * 2 - 1, studio.host(None)
    with host.open_session() as session:
        plain = session.encode_images(photo)
    model = sd_models.model_data.sd_model
    coder = model.first_stage_model
    monkeypatch.setattr(model, "encode_first_stage", lambda x: model.scale_factor * coder.encode(x).sample())
    with host.open_session() as session:
        drawn = session.encode_images(photo), session.encode_images(photo)
    for mean, deviation in drawn:
        assert torch.equal(mean, plain[0])
        assert torch.equal(deviation, plain[1])
    assert float(plain[1].min()) > 0
    assert not coder.quant_conv._forward_hooks


def test_sdxl_is_told_the_size_that_is_trained(studio, monkeypatch):
    model, told = sd_models.model_data.sd_model, []

    def conditioning(prompts):
        told.append((list(prompts), prompts.width, prompts.height))
        rows = torch.arange(float(len(prompts)))[:, None]
        vector = torch.cat([rows, torch.tensor([[prompts.width, prompts.height]]).expand(len(prompts), 2)], 1)
        return {"crossattn": rows[..., None].expand(-1, 77, 64), "vector": vector}

    for name, value in {"is_sd1": False, "is_sdxl": True, "get_learned_conditioning": conditioning}.items():
        monkeypatch.setattr(model, name, value)
    with studio.host(None).open_session() as session:
        found = session.encode_prompts(["a", "b", "c"], [(96, 96), (64, 128), (96, 96)])
    assert told == [(["a", "b", "c"], 96, 96), (["a", "b", "c"], 64, 128)]
    assert found.pooled.tolist() == [[0, 96, 96], [1, 64, 128], [2, 96, 96]]
    assert found.context[:, 0, 0].tolist() == [0, 1, 2]


def test_another_extensions_forward_on_a_block_stays(studio):
    unet = sd_models.model_data.sd_model.model.diffusion_model
    block = next(m for m in unet.modules() if type(m).__name__ == "ResBlock")
    theirs = block.forward
    block.forward = theirs
    try:
        with studio.host(None).open_session(gradient_checkpointing=True):
            assert block.forward is not theirs
        assert vars(block)["forward"] is theirs
    finally:
        del block.forward


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [("is_sd1", False, "neither Stable Diffusion 1, 2 nor SDXL"), ("sd_checkpoint_info", None, "no checkpoint loaded")],
)
def test_what_cannot_train_is_refused_before_the_queue(attribute, value, expected, studio, monkeypatch):
    host, takes = studio.host(None), call_queue.queue_lock.takes
    monkeypatch.setattr(sd_models.model_data.sd_model, attribute, value)
    with pytest.raises(HostError, match=expected), host.open_session():
        pass
    assert call_queue.queue_lock.takes == takes


def test_lowvram_is_refused(studio, monkeypatch):
    monkeypatch.setattr(shared.cmd_opts, "lowvram", True)
    with pytest.raises(HostError, match="--medvram"), studio.host(None).open_session():
        pass


def test_the_finished_lora_is_on_its_card(train, draw):
    result = train()
    on_disk = networks.available_networks[result.lora.stem]
    card = json.loads(Path(on_disk.filename).with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["activation text"], card["sd version"]) == ("fchost man", "SD1")
    assert on_disk.alias == result.lora.stem
    with Image.open(Path(on_disk.filename).with_suffix(".png")) as opened:
        assert opened.info == {}
    # Every one of its layers is found by the WebUI's own naming.
    found = networks.load_network(result.lora.stem, on_disk)
    assert len(found.modules) == len(WebuiSession(sd_models.model_data.sd_model, contextlib.ExitStack()).lora_targets())


def taken_by_another():
    """The queue, held by a thread that is not ours until the event is set."""
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with call_queue.queue_lock:
            held.set()
            let_go.wait(60)

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(10)
    return let_go


def until(reached):
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_job_that_waits_for_the_webui_says_so_and_starts_then(studio, person):
    let_go = taken_by_another()
    config = TrainConfig(**{**QUICK, "steps": 1, "previews": 0})
    job = studio.submit_train(TrainRequest(person, config=config))
    until(lambda: job.progress.stage is Stage.WAITING and job.progress.message)
    assert "until the WebUI has finished" in progress_panel(job)
    let_go.set()
    assert job.wait(120)
    assert job.state is JobState.DONE, job.error


def test_a_waiting_job_hears_cancel_and_leaves_the_queue_to_others(studio, person):
    let_go = taken_by_another()
    takes = call_queue.queue_lock.takes
    for submit in (
        lambda: studio.submit_train(TrainRequest(person, config=TrainConfig(**QUICK))),
        lambda: studio.submit_portraits(PortraitRequest(person, with_lora=False, config=PortraitConfig(count=1, steps=1))),
    ):
        job = submit()
        until(lambda job=job: (job.progress.stage is Stage.WAITING and job.progress.message) or not job.active)
        assert job.active, job.error
        studio.jobs.cancel(job.id)
        # The other still holds the queue.
        assert job.wait(5)
        assert job.state is JobState.CANCELLED
    assert call_queue.queue_lock.takes == takes
    let_go.set()
    # Those who had stood in line take their turn and give it back.
    until(lambda: call_queue.queue_lock.takes == takes + 2 and call_queue.queue_lock.owner is None)
