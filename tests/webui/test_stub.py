"""The stand-in has the traps of the real A1111 1.10.1: without them the other tests here would prove nothing."""

from __future__ import annotations

import threading

import networks
import pytest
import torch
from modules import call_queue, errors, processing, script_callbacks, scripts, sd_models, shared

from tests.host.probe import digest


def weights():
    return digest(sorted(sd_models.model_data.sd_model.state_dict().items()))


def clean():
    """Every layer as the checkpoint has it."""
    networks.load_networks([])
    with torch.no_grad():
        for module in sd_models.model_data.sd_model.modules():
            if hasattr(module, "weight"):
                networks.network_apply_weights(module)


def test_a_lora_enters_at_a_forward_and_leaves_at_a_later_one(draw, trained):
    clean()
    base = weights()
    networks.load_networks([trained])
    assert weights() == base
    draw(prompt=f"fchost man <lora:{trained}:1>")
    merged = weights()
    assert merged != base
    networks.load_networks([])
    assert weights() == merged
    draw(prompt="fchost man")
    # The UNet ran and is as it was; the autoencoder never had anything.
    assert weights() == base


def test_with_gradients_on_the_way_back_fails(draw, trained):
    draw(prompt=f"fchost man <lora:{trained}:1>")
    networks.load_networks([])
    model = sd_models.model_data.sd_model
    with pytest.raises(RuntimeError, match="leaf Variable"):
        model.apply_model(torch.zeros(1, 4, 8, 8), torch.tensor([5]), torch.zeros(1, 77, 64))
    clean()


def test_only_names_and_multipliers_tell_loras_apart(draw, trained):
    first = draw(prompt=f"fchost man <lora:{trained}:1>").pixels
    (net,) = networks.loaded_networks
    for module in net.modules.values():
        module.up = torch.zeros_like(module.up)
    # Another content under the same name: the merged weights stay.
    assert draw(prompt=f"fchost man <lora:{trained}:1>").pixels == first
    clean()


def test_without_its_flag_a_picture_unloads_what_was_loaded(draw, trained):
    networks.load_networks([trained])
    kept = draw(disable_extra_networks=True, prompt="fchost man").pixels
    assert [n.name for n in networks.loaded_networks] == [trained]
    assert draw(prompt="fchost man").pixels != kept
    assert networks.loaded_networks == []


def test_a_missing_lora_is_a_comment_only(draw):
    drawn = draw(prompt="photo of a person <lora:nowhere:1>")
    assert len(drawn.images) == 1
    assert "Lora not found: nowhere" in drawn.processed.comments
    assert "comments" not in drawn.info


def test_encoded_prompts_outlive_the_picture(draw):
    draw(prompt="photo of a person")
    cached = processing.StableDiffusionProcessing.cached_c
    assert processing.StableDiffusionProcessingTxt2Img.cached_c is cached
    encoded = cached[1]
    draw(prompt="photo of a person")
    assert cached[1] is encoded
    # A changed text encoder is not noticed.
    encoder = sd_models.model_data.sd_model.cond_stage_model
    hook = encoder.register_forward_hook(lambda *_: torch.zeros(1, 77, 64))
    draw(prompt="photo of a person")
    hook.remove()
    assert cached[1] is encoded


def test_the_queue_is_not_reentrant_and_serves_in_order():
    lock, order = call_queue.queue_lock, []
    with lock:
        with pytest.raises(RuntimeError, match="twice"), lock:
            pass
        threads = [threading.Thread(target=lambda i=i: order.append((lock.acquire(), i, lock.release())[1])) for i in range(3)]
        for i, thread in enumerate(threads):
            thread.start()
            while len(lock._waiting) <= i:
                pass
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
    assert len(lock.violations) == 1
    lock.violations.clear()


def test_an_override_of_an_option_never_set_stays(draw):
    assert "CLIP_stop_at_last_layers" not in shared.opts.data
    draw(override_settings={"CLIP_stop_at_last_layers": 2})
    assert shared.opts.data.pop("CLIP_stop_at_last_layers") == 2
    shared.opts.data["jpeg_quality"] = 90
    draw(override_settings={"jpeg_quality": 10})
    assert shared.opts.data.pop("jpeg_quality") == 90


def test_a_changed_dropdown_is_loaded_by_the_next_picture_into_the_same_object(draw):
    own = shared.opts.sd_model_checkpoint
    model, before = sd_models.model_data.sd_model, draw().pixels
    shared.opts.data["sd_model_checkpoint"] = "another"
    assert draw().pixels != before
    assert sd_models.model_data.sd_model is model
    shared.opts.data["sd_model_checkpoint"] = own
    assert draw().pixels == before


def test_pictures_disturb_the_generators(draw):
    import random

    python, numbers = random.getstate(), torch.get_rng_state()
    draw(seed=99)
    assert random.getstate() != python
    assert not torch.equal(torch.get_rng_state(), numbers)


class _Recorder(scripts.Script):
    """Notes its hooks, comments in each, and fails in one."""

    def __init__(self):
        self.seen, self.prompts = [], []

    def __getattribute__(self, name):
        if name.startswith(("before_", "after_", "process", "post")):
            return lambda p, *args, **kwargs: self.note(name, p)
        return object.__getattribute__(self, name)

    def note(self, name, p):
        self.seen.append(name)
        p.comment(f"from {name}")
        if name == "process":
            p.all_prompts = [f"{text} <lora:nowhere:1>" for text in p.all_prompts]
            p.extra_generation_params.update(Place=lambda index, **_: f"at {index}", Broken=lambda **_: 1 / 0)
        if name == "process_batch":
            raise ZeroDivisionError


@pytest.mark.reports_errors
def test_hooks_come_in_the_hosts_order_and_their_errors_are_swallowed(draw, monkeypatch):
    recorder = _Recorder()
    monkeypatch.setattr(scripts.scripts_txt2img, "alwayson_scripts", [recorder])
    drawn = draw(batch_size=2)
    assert recorder.seen == [
        "before_process",
        "process",
        "before_process_batch",
        "after_extra_networks_activate",
        "process_batch",
        "postprocess_batch",
        "postprocess_image",
        "postprocess_image_after_composite",
        "postprocess_image",
        "postprocess_image_after_composite",
        "postprocess",
    ]
    assert len(drawn.images) == 2
    assert [e.split(":")[0] for e in errors.reported] == ["Error running process_batch", *['Error creating infotext for key "Broken"'] * 3]
    # What is said in postprocess comes too late; a tag added in process comes in time.
    assert "from postprocess_image" in drawn.processed.comments
    assert "from postprocess\n" not in drawn.processed.comments
    assert "Lora not found: nowhere" in drawn.processed.comments
    assert [f"Place: at {i}" in text for i, text in enumerate(drawn.infotexts)] == [True, True]
    assert "Broken" not in drawn.infotexts[0]


def test_progress_is_not_put_back():
    shared.state.begin("a test")
    assert shared.state.job_count == -1
    shared.state.interrupt()
    shared.state.end()
    assert shared.state.interrupted
    shared.state.begin("a test")
    assert not shared.state.interrupted
    shared.state.end()


@pytest.mark.reports_errors
def test_what_callbacks_raise_is_swallowed():
    def broken(*_):
        raise ZeroDivisionError

    script_callbacks.on_infotext_pasted(broken)
    script_callbacks.called("infotext_pasted", "", {})
    script_callbacks.callback_map["infotext_pasted"].remove(broken)
    assert len(errors.reported) == 1


def test_the_unet_asks_for_gradients_and_the_rest_does_not():
    model = sd_models.model_data.sd_model
    assert sum(p.requires_grad for p in model.model.parameters()) == 686
    assert not any(p.requires_grad for p in model.first_stage_model.parameters())
    assert not any(p.requires_grad for p in model.cond_stage_model.parameters())
    assert torch.is_grad_enabled()
    assert model.get_learned_conditioning(["a face"]).shape == (1, 77, 64)
    assert not any(m.training for m in model.modules())
