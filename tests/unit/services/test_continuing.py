"""A finished LoRA learns on: the new one begins where it ended, stands beside it under another name and says what it grew from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from facechain_ext.errors import Paused, UserInputError
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.people import read_card
from facechain_ext.services.requests import PrepareRequest, TrainRequest
from tests.unit.services.conftest import PERSON, QUICK, contents

LORA = "Ada_Lovelace"
STILL = replace(QUICK, steps=1, learning_rate=1e-9)
"""Learns next to nothing: what comes out is what went in."""


def distance(a, b) -> float:
    """How far the updates of two LoRA files are apart, relative to the first."""
    ours, theirs = load_file(a), load_file(b)
    assert ours.keys() == theirs.keys()
    downs = [k for k in ours if k.endswith(".lora_down.weight")]

    def update(tensors, key):
        return tensors[key.replace(".lora_down", ".lora_up")].float().flatten(1) @ tensors[key].float().flatten(1)

    apart = sum(float((update(ours, k) - update(theirs, k)).square().sum()) for k in downs)
    return (apart / sum(float(update(ours, k).square().sum()) for k in downs)) ** 0.5


def metadata(file) -> dict[str, str]:
    with safe_open(file, "pt") as source:
        return source.metadata()


def test_it_begins_where_the_other_ended(copy, house):
    before = contents(copy.workspace.person(PERSON).loras)
    made = copy.train(TrainRequest(PERSON, config=STILL, continue_from=LORA))
    assert made.lora.name == "Ada_Lovelace-2.safetensors"
    assert distance(house.trained.lora, made.lora) < 1e-3
    more = copy.train(TrainRequest(PERSON, config=replace(QUICK, seed=7), continue_from=LORA))
    assert 0.05 < distance(house.trained.lora, more.lora) < 2
    after = contents(copy.workspace.person(PERSON).loras)
    assert {name: after[name] for name in before} == before


def test_the_loss_goes_on_where_it_was(copy):
    """Continued, the first steps already have a lower loss than a fresh training's first steps on the very same samples."""
    config = replace(QUICK, steps=16, batch=2)
    first = copy.train(TrainRequest(PERSON, config=config))
    on = copy.train(TrainRequest(PERSON, config=replace(config, steps=6), continue_from=first.lora.stem))
    assert sum(p.loss for p in on.curve[:6]) < 0.95 * sum(p.loss for p in first.curve[:6])


def test_it_says_what_it_grew_from(copy, house):
    made = copy.train(TrainRequest(PERSON, config=STILL, continue_from=LORA))
    said = metadata(made.lora)["facechain_grown_from"]
    assert said == f"{LORA} {metadata(house.trained.lora)['sshs_model_hash'][:12]}"
    assert "facechain_grown_from" not in metadata(house.trained.lora)
    assert [lora.grown_from for lora in copy.person(PERSON).loras] == ["", LORA]


def test_with_more_photos(copy, photos):
    copy.prepare(PrepareRequest(PERSON, photos[:2], copy.checkpoint(None).prepare))
    few = copy.train(TrainRequest(PERSON, config=QUICK))
    copy.prepare(PrepareRequest(PERSON, photos, copy.checkpoint(None).prepare))
    more = copy.train(TrainRequest(PERSON, config=QUICK, continue_from=few.lora.stem))
    assert int(metadata(more.lora)["ss_num_train_images"]) > int(metadata(few.lora)["ss_num_train_images"])


def test_paused_and_resumed_it_is_the_very_same_and_still_knows(copy):
    whole = copy.train(TrainRequest(PERSON, config=QUICK, continue_from=LORA))
    token = CancelToken()
    with pytest.raises(Paused):
        copy.train(
            TrainRequest(PERSON, config=QUICK, continue_from=LORA),
            lambda e: token.pause() if e.stage is Stage.TRAIN and e.step == 3 else None,
            token,
        )
    rest = copy.train(TrainRequest(PERSON, config=QUICK, resume=True))
    ours, theirs = load_file(rest.lora), load_file(whole.lora)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert read_card(copy.workspace.person(PERSON))["loras"][-1]["grown_from"] == LORA


def test_settings_take_the_loras_rank(copy):
    assert copy.continued(PERSON, LORA, replace(QUICK, rank=32, alpha=8.0)) == QUICK


@pytest.mark.parametrize(("kind", "more"), [("dora", {}), ("lokr", {"alpha": 1.0})])
def test_other_kinds_learn_on(copy, kind, more):
    config = replace(QUICK, kind=kind, steps=3, learning_rate=5e-3, **more)
    first = copy.train(TrainRequest(PERSON, config=config))
    settings = copy.continued(PERSON, first.lora.stem, replace(STILL, targets=config.targets))
    assert (settings.kind, settings.rank, settings.alpha) == (kind, config.rank, config.alpha)
    on = copy.train(TrainRequest(PERSON, config=settings, continue_from=first.lora.stem))
    ours, theirs = load_file(first.lora), load_file(on.lora)
    assert ours.keys() == theirs.keys()
    # AdamW's decay and a step of 1e-9 are all that happens; files of LoRA, rsLoRA and DoRA are in halves.
    assert all(torch.allclose(ours[key].float(), theirs[key].float(), rtol=2e-3, atol=1e-5) for key in ours)
    with pytest.raises(UserInputError, match=f"of the kind {kind}"):
        copy.train(TrainRequest(PERSON, config=replace(settings, kind="lora"), continue_from=first.lora.stem))


def test_what_cannot_be_continued_is_said(copy):
    before = contents(copy.workspace.root)
    with pytest.raises(UserInputError, match=r"no LoRA called 'nonsuch'\. There are: Ada_Lovelace"):
        copy.train(TrainRequest(PERSON, config=QUICK, continue_from="nonsuch"))
    with pytest.raises(UserInputError, match="no LoRA called"):
        copy.train(TrainRequest(PERSON, config=QUICK, continue_from="../loras/Ada_Lovelace"))
    with pytest.raises(UserInputError, match="has rank 2 and alpha 2"):
        copy.train(TrainRequest(PERSON, config=replace(QUICK, rank=4), continue_from=LORA))
    assert {k: v for k, v in contents(copy.workspace.root).items() if "loras/" in k} == {k: v for k, v in before.items() if "loras/" in k}
    file = copy.workspace.person(PERSON).loras / f"{LORA}.safetensors"
    file.write_bytes(b"damaged")
    with pytest.raises(UserInputError, match="cut off"):
        copy.train(TrainRequest(PERSON, config=QUICK, continue_from=LORA))
