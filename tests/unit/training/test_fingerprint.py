"""What a saved training depends on, and in which words a change is told."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import FileFormatError
from facechain_ext.ports import CheckpointInfo, Family, Prediction
from facechain_ext.progress import LossPoint
from facechain_ext.training.checkpoints import FREE_TO_CHANGE, TrainState, differences, fingerprint, load_state, save_state
from facechain_ext.training.optim import OptimizerState
from tests.conftest import make_dataset

CHECKPOINT = CheckpointInfo("small", "5" * 64, Family.SD1, Prediction.EPS, 64)
CONFIG = TrainConfig(steps=10, rank=4)


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


def changed(dataset, photos=None, checkpoint=CHECKPOINT, config=CONFIG):
    other = dataset if photos is None else replace(dataset, photos=photos)
    return differences(fingerprint(other, checkpoint, config), fingerprint(dataset, CHECKPOINT, CONFIG))


def test_the_same_is_the_same(dataset):
    assert changed(dataset) == []
    assert changed(make_dataset()) == []
    assert changed(dataset, checkpoint=replace(CHECKPOINT, name="renamed")) == []


@pytest.mark.parametrize("part", ["image", "mask", "caption"])
def test_every_part_of_a_photo_counts(dataset, part):
    first = dataset.photos[0]
    value = first.caption + "!" if part == "caption" else 255 - getattr(first, part)
    assert changed(dataset, photos=(replace(first, **{part: value}), *dataset.photos[1:])) == ["the photos"]


def test_a_head_mask_counts_only_where_it_is_used(dataset):
    other = (replace(dataset.photos[0], head=dataset.photos[0].mask), *dataset.photos[1:])
    assert changed(dataset, photos=other) == []
    assert changed(dataset, photos=other, config=replace(CONFIG, mask="head")) == ["the photos", "mask (face then, head now)"]


def test_order_and_number_of_photos_count(dataset):
    assert changed(dataset, photos=dataset.photos[::-1]) == ["the photos"]
    assert changed(dataset, photos=dataset.photos[:2]) == ["the photos"]


def test_changes_are_told_with_both_values(dataset):
    assert changed(dataset, config=replace(CONFIG, rank=8, seed=3)) == ["rank (4 then, 8 now)", "seed (1 then, 3 now)"]
    assert changed(dataset, checkpoint=replace(CHECKPOINT, sha256="6" * 64)) == ["the checkpoint"]


def test_what_does_not_touch_learning_may_change(dataset):
    other = {"save_every": 7, "preview_every": 9, "previews": 1, "gradient_checkpointing": True, "offload": True, "memory": "auto", "keep": "last", "patience": 1}
    assert set(other) == FREE_TO_CHANGE
    assert changed(dataset, config=replace(CONFIG, **other)) == []


def state(scaler):
    pair = (torch.randn(2, 8), torch.randn(6, 2))
    moments = [{"step": torch.tensor(3.0), "exp_avg": torch.randn(t.shape)} for t in pair]
    return TrainState(3, {"lora_unet_a": {"lora_down.weight": pair[0], "lora_up.weight": pair[1]}}, OptimizerState(moments), (LossPoint(1, 0.5, 1e-3),), 2.5, scaler)


def test_the_gradient_scalers_state_is_kept_and_older_files_have_none(tmp_path):
    scaler = torch.amp.GradScaler("cpu", enabled=True).state_dict()
    save_state(tmp_path / "s.safetensors", state(scaler), {"photos": "a"})
    assert load_state(tmp_path / "s.safetensors")[0].scaler == scaler
    save_state(tmp_path / "s.safetensors", state({}), {"photos": "a"})
    data = (tmp_path / "s.safetensors").read_bytes()
    (tmp_path / "old.safetensors").write_bytes(data.replace(b'\\"scaler\\": {}', b'\\"otherx\\": {}'))
    assert data != (tmp_path / "old.safetensors").read_bytes()
    assert load_state(tmp_path / "old.safetensors")[0].scaler == {}


def test_another_version_is_said(tmp_path):
    save_state(tmp_path / "s.safetensors", state({}), {})
    data = (tmp_path / "s.safetensors").read_bytes()
    (tmp_path / "s.safetensors").write_bytes(data.replace(b'\\"schema\\": 2', b'\\"schema\\": 7'))
    with pytest.raises(FileFormatError, match="another version"):
        load_state(tmp_path / "s.safetensors")


def test_a_missing_state_is_said(tmp_path):
    with pytest.raises(FileFormatError, match="damaged"):
        load_state(tmp_path / "none.safetensors")


def test_a_training_saved_before_a_setting_came_can_go_on(dataset):
    ours = fingerprint(dataset, CHECKPOINT, CONFIG)
    older = {k: v for k, v in json.loads(ours["settings"]).items() if k != "noise_offset"}
    assert differences(ours, {**ours, "settings": json.dumps(older)}) == []
    other = fingerprint(dataset, CHECKPOINT, replace(CONFIG, noise_offset=0.1))
    assert differences(other, {**ours, "settings": json.dumps(older)}) == ["noise_offset (0.0 then, 0.1 now)"]
