"""The resumable state: a round trip, and refusals of what is damaged or foreign."""

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.errors import FileFormatError
from facechain_ext.progress import LossPoint
from facechain_ext.training.checkpoints import TrainState, load_state, save_state
from facechain_ext.training.optim import OptimizerState

MARKS = {"photos": "a", "checkpoint": "b", "settings": "{}"}


@pytest.fixture
def state():
    adapter = {"lora_unet_down_0_proj": {"lora_down.weight": torch.randn(2, 8), "lora_up.weight": torch.randn(6, 2)}}
    moments = [{"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 8)}, {"step": torch.tensor(3.0), "exp_avg": torch.randn(6, 2)}]
    return TrainState(
        3,
        adapter,
        OptimizerState(moments, [{"k": 1}, {"k": 2}], [{"d": 0.5}, {}]),
        (LossPoint(1, 0.5, 1e-3), LossPoint(2, 0.4, 1e-3, 0.3)),
        12.5,
    )


def test_round_trip(state, tmp_path):
    save_state(tmp_path / "s.safetensors", state, MARKS)
    back, marks = load_state(tmp_path / "s.safetensors")
    assert marks == MARKS
    assert (back.step, back.seconds, back.curve) == (3, 12.5, state.curve)
    assert all(torch.equal(t, back.adapter[name][key]) for name, tensors in state.adapter.items() for key, t in tensors.items())
    assert back.average == {}
    assert (back.optimizer.numbers, back.optimizer.groups) == ([{"k": 1}, {"k": 2}], [{"d": 0.5}, {}])
    assert all(torch.equal(a[k], b[k]) for a, b in zip(back.optimizer.tensors, state.optimizer.tensors, strict=True) for k in a)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-20], lambda d: b"", lambda d: b"text" * 50, lambda d: d.replace(b"facechain_state", b"facechain_stale")]
)
def test_damage_is_said(state, tmp_path, damage):
    file = tmp_path / "s.safetensors"
    save_state(file, state, MARKS)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(FileFormatError, match="Start the training anew"):
        load_state(file)
