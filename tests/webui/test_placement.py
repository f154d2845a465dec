"""What encodes leaves the GPU while the UNet learns where the WebUI's own setting says so; other precisions and processes are refused."""

from __future__ import annotations

import pytest
import torch
from modules import sd_models, shared

from facechain_ext.errors import HostError
from tests.host.probe import look

OPTION = "unload_models_when_training"


def _where(module):
    return {p.device.type for p in module.parameters()}


@pytest.mark.parametrize(("wanted", "lowvram", "away"), [(True, False, True), (False, False, False), (True, True, False)])
def test_encoders_rest_where_the_webui_is_set_so(wanted, lowvram, away, draw, train, monkeypatch):
    model = sd_models.model_data.sd_model
    monkeypatch.setitem(shared.opts.data, OPTION, wanted)
    monkeypatch.setattr(model, "lowvram", lowvram, raising=False)
    plain, before, seen = draw(prompt="photo of a person").pixels, look(model), []
    unet = model.model.diffusion_model
    forward = type(unet).forward

    def watched(self, *args, **kwargs):
        seen.append((torch.is_grad_enabled(), _where(model.first_stage_model), _where(model.cond_stage_model)))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(unet), "forward", watched)
    train()
    monkeypatch.setattr(type(unet), "forward", forward)
    place = {"meta"} if away else {"cpu"}
    assert {(str(a), str(b)) for learns, a, b in seen if learns} == {(str(place), str(place))}
    assert {(str(a), str(b)) for learns, a, b in seen if not learns} == {("{'cpu'}", "{'cpu'}")}
    after = look(model)
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value} == {}
    assert draw(prompt="photo of a person").pixels == plain


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"precision": "bf16"}, "loaded in fp32, not bf16"), ({"processes": 2}, "one process, the WebUI's own")],
    ids=["precision", "processes"],
)
def test_what_only_the_standalone_program_has_is_refused(settings, said, train):
    with pytest.raises(HostError, match=said):
        train(**settings)


def test_its_own_precision_is_taken_and_weights_stay(train):
    assert any("stay where they are" in note for note in train(precision="fp32", offload=True).notes)
