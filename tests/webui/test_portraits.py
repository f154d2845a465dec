"""Portraits from tab and API, drawn by the WebUI's own ``process_images``."""

from __future__ import annotations

import networks
import pytest
from modules import call_queue, sd_models, sd_samplers, shared
from PIL import Image

from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import Cancelled, HostError, UserInputError
from facechain_ext.hosts.a1111.model import footprint_of
from facechain_ext.hosts.a1111.sending import portrait_file
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.requests import PortraitRequest, TrainRequest
from facechain_ext.training.plan import peak_bytes
from tests.host.probe import look

CONFIG = PortraitConfig(count=2, batch=2, steps=4, cfg=3.0, width=64, height=64, seed=5, face_pass="off")


def make(studio, person, on_progress=lambda _: None, token=None, **given):
    return studio.portraits(PortraitRequest(person, None, config=CONFIG, **given), on_progress, token or CancelToken())


def undisturbed(draw, trained, act):
    """Run ``act`` after a LoRA picture; everything but the merged layers is the same then."""
    drawn = draw(prompt=f"fchost man <lora:{trained}:1>").pixels
    model = sd_models.model_data.sd_model
    before, takes = look(model), call_queue.queue_lock.takes
    result = act()
    after = look(model)
    before.pop("merged layers")
    assert after.pop("merged layers") == 0
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value} == {}
    assert call_queue.queue_lock.takes == takes + 1
    assert draw(prompt=f"fchost man <lora:{trained}:1>").pixels == drawn
    return result


def test_portraits_leave_everything_as_it_was(studio, person, trained, draw):
    steps = []
    result = undisturbed(
        draw, trained, lambda: make(studio, person, lambda e: steps.append((e.step, e.total)) if e.stage is Stage.GENERATE else None)
    )
    assert len(result.portraits) == 2
    assert {p.seed for p in result.portraits} == {5, 6}
    assert steps[-1][0] == steps[-1][1] > 0


def test_the_same_seed_is_the_same_portrait_and_the_lora_is_in_it(studio, person, trained):
    first, again, bare = make(studio, person), make(studio, person), make(studio, person, with_lora=False)
    pixels = [{p.seed: Image.open(p.file).tobytes() for p in run.portraits} for run in (first, again, bare)]
    assert pixels[0] == pixels[1]
    assert all(pixels[0][seed] != pixels[2][seed] for seed in pixels[0])


def test_an_error_while_sampling_is_told_and_cleared_away(studio, person, trained, draw, monkeypatch):
    def act():
        with monkeypatch.context() as broken:
            broken.setattr(sd_samplers, "predicted", lambda *_: 1 / 0)
            with pytest.raises(HostError, match="ZeroDivisionError"):
                make(studio, person)

    undisturbed(draw, trained, act)


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
def test_cancel_and_interrupt_end_it(how, studio, person, trained, draw, monkeypatch):
    token, own = CancelToken(), sd_samplers.predicted

    def predicted(*args):
        token.cancel() if how == "cancel" else shared.state.interrupt()
        return own(*args)

    def act():
        with monkeypatch.context() as watched:
            watched.setattr(sd_samplers, "predicted", predicted)
            try:
                made = make(studio, person, token=token)
            except Cancelled:
                return None
            return made

    result = undisturbed(draw, trained, act)
    # The WebUI shows what an interrupted sampling had; a cancelled request gives nothing.
    assert (result is None) or how == "interrupt"
    assert len(draw().images) == 1


def test_options_lora_for_every_prompt_stays_out(studio, person, trained):
    before = {p.seed: p.file.read_bytes() for p in make(studio, person, with_lora=False).portraits}
    shared.opts.data["sd_lora"] = trained
    after = {p.seed: p.file.read_bytes() for p in make(studio, person, with_lora=False).portraits}
    shared.opts.data.pop("sd_lora")
    assert after == before


def test_a_lora_for_no_layer_of_the_checkpoint_is_refused(studio, person, trained, tmp_path, draw):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    from facechain_ext.errors import FileFormatError
    from facechain_ext.ports import LoraWeight, SamplingRequest

    source = networks.available_networks[trained].filename
    strange = {key.replace("attentions", "nowhere"): value for key, value in load_file(source).items()}
    with safe_open(source, "pt") as opened:
        metadata = opened.metadata()
    file = tmp_path / "strange.safetensors"
    save_file(strange, file, metadata)
    wanted = SamplingRequest("a face", "", (1,), 64, 64, 2, 3.0, "DDIM", (LoraWeight(file),))

    def act():
        with pytest.raises(FileFormatError):
            list(studio.host(None).generate(wanted, lambda _: None, CancelToken()))

    undisturbed(draw, trained, act)


def test_only_portraits_can_be_sent_on(studio, person, trained):
    best = make(studio, person).portraits[0].file
    name = "/".join(best.parts[-4:])
    assert portrait_file(studio, name) == best
    photo = next((studio.workspace.people_root / person).rglob("dataset/*.png"))
    for other in (
        "",
        "..",
        f"../people/../{photo.name}",
        str(photo),
        photo.relative_to(studio.workspace.people_root).as_posix(),
        name.replace(best.name, "report.json"),
        name.replace(best.name, "gone.png"),
    ):
        with pytest.raises(UserInputError, match="gone"):
            portrait_file(studio, other)


def test_an_estimate_knows_the_checkpoint_also_while_adapters_are_in(studio, person):
    model = sd_models.model_data.sd_model
    before, during = footprint_of(model), []

    def look_in(event):
        if event.stage is Stage.TRAIN and not during:
            during.append(footprint_of(model))

    config = TrainConfig(steps=1, resolution=64, rank=2, batch=1, previews=0)
    studio.train(TrainRequest(person, config=config), look_in)
    assert during
    assert during[0].shapes == before.shapes
    assert peak_bytes(before, config, 8) > 0


def test_a_picture_to_start_from_is_kept_near_and_leaves_everything_as_it_was(studio, person, trained, draw):
    import numpy as np

    from facechain_ext.ports import LoraWeight, SamplingRequest

    [picture] = (np.asarray(i) for i in draw(width=64, height=64, seed=3).images)
    file = studio.person(person).loras[-1].file

    def apart(strength):
        wanted = SamplingRequest(
            "fchost man", "", (1,), 64, 64, 8, 3.0, "DDIM", (LoraWeight(file),), start=(np.array(picture),), strength=strength
        )
        [found] = undisturbed(draw, trained, lambda: list(studio.host(None).generate(wanted, lambda _: None, CancelToken())))
        return float(np.abs(found.astype(int) - picture).mean())

    assert apart(0.1) < 0.75 * apart(0.9)


def test_the_face_pass_of_the_tab_runs_on_the_webuis_own_img2img(studio, person, trained, draw):
    from dataclasses import replace

    config = replace(CONFIG, count=1, batch=1, width=128, height=128, steps=6, face_pass="always", face_pass_strength=0.5)
    request = PortraitRequest(person, config=config)
    result = studio.portraits(request, lambda _: None, CancelToken())
    [portrait] = result.portraits
    if portrait.faces:
        assert len(portrait.face_pass) == 1
        assert f"FaceChain face pass likeness: {portrait.face_pass[0]}" in portrait.infotext
    assert "FaceChain face pass: always" in portrait.infotext
