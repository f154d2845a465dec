"""What a checkpoint predicts is told by its neighbours, marks and metadata, and tried as the WebUI does when nobody says."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file

from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.hosts.standalone.prediction import parameterisation
from facechain_ext.hosts.standalone.schedule import alphas_of
from facechain_ext.hosts.standalone.sidecar import read_sidecar
from facechain_ext.ports import Family, Prediction, SamplingRequest
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.noise import signal_to_noise
from facechain_ext.workspace import Workspace
from tests.tiny_checkpoints import write

OUT = "model.diffusion_model.out.2.bias"
"""The last bias of the UNet: added to every pixel of what it predicts."""


def known(file, family):
    return parameterisation(file, family, read_sidecar(file))


def answering(folder, bias, **hints):
    """SD2 of which nobody says what it predicts; its answer to anything is around ``bias``."""
    file = write("sd2", folder, prediction=None, **hints)
    weights = load_file(file)
    weights[OUT.replace("bias", "weight")] *= 0.01
    weights[OUT] = torch.full_like(weights[OUT], bias)
    save_file(weights, file)
    return file


@pytest.mark.parametrize(("bias", "prediction", "side"), [(-1.2, Prediction.V, 768), (0.4, Prediction.EPS, 512)])
def test_sd2_is_tried_when_nobody_says(tmp_path, bias, prediction, side):
    file = answering(tmp_path, bias, resolution=None)
    assert known(file, Family.SD2).prediction is None
    host = StandaloneHost(file)
    assert (host.checkpoint.prediction, host.checkpoint.resolution) == (prediction, side)
    assert "WebUI's rule" in host.checkpoint.assumed
    assert f"({bias - 0.5:.1f}" in host.checkpoint.assumed
    assert host.parts().scheduler_config["prediction_type"] == ("v_prediction" if prediction is Prediction.V else "epsilon")


def test_the_surest_source_is_heard_first(tmp_path):
    v = {"v_pred": torch.zeros(0)}
    file = write("sdxl", tmp_path, marks=v)
    assert known(file, Family.SDXL).prediction is Prediction.V
    file.with_suffix(".yaml").write_text("model:\n  params:\n    linear_start: 0.00085\n")
    assert known(file, Family.SDXL).prediction is Prediction.EPS
    file.with_suffix(".yaml").write_text("scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling}")
    assert known(file, Family.SDXL).prediction is Prediction.V
    file.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert "tiny-sdxl.yaml says so" in known(file, Family.SDXL).sentence(Family.SDXL)
    write("sdxl", tmp_path, prediction="eps", marks=v)
    assert known(file, Family.SDXL).prediction is Prediction.EPS
    assert known(file, Family.SDXL).assumption(Family.SDXL) == ""


def test_metadata_counts_before_the_familys_rule(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, file, {"modelspec.prediction_type": "v"})
    assert known(file, Family.SD2).prediction is Prediction.V
    save_file({"a": torch.zeros(1)}, file, {"modelspec.prediction_type": "epsilon"})
    assert known(file, Family.SD2).prediction is Prediction.EPS
    save_file({"a": torch.zeros(1)}, file)
    assert [known(file, f).prediction for f in Family] == [Prediction.EPS, None, Prediction.EPS]


def test_zero_terminal_snr_reaches_training_and_sampling(tmp_path):
    (tmp_path / "usual").mkdir()
    usual = StandaloneHost(write("sdxl", tmp_path / "usual", prediction="v"))
    marked = StandaloneHost(write("sdxl", tmp_path, marks={"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}))
    with usual.open_session() as plain, marked.open_session() as zero:
        assert float(plain.alphas_cumprod[-1]) > 1e-3
        assert float(zero.alphas_cumprod[-1]) == 0
        assert torch.allclose(zero.alphas_cumprod[:2], plain.alphas_cumprod[:2], atol=1e-4)
        assert float(signal_to_noise(zero.alphas_cumprod)[-1]) == 0
        from diffusers import DDIMScheduler

        theirs = DDIMScheduler.from_config(marked.parts().scheduler_config)
        assert torch.allclose(theirs.alphas_cumprod, zero.alphas_cumprod, atol=1e-6)
        theirs.set_timesteps(4)
        assert int(theirs.timesteps[0]) == 999
    for sampler in ("DPM++ 2M Karras", "Euler", "Euler a", "DDIM", "UniPC"):
        [picture] = marked.generate(SamplingRequest("a face", "", (1,), 64, 64, 3, 3.0, sampler), silent, CancelToken())
        assert picture.std() > 5


def test_alphas_are_diffusers(tmp_path):
    from diffusers import DDIMScheduler

    config = StandaloneHost(write("sd2", tmp_path)).parts().scheduler_config
    assert torch.allclose(DDIMScheduler.from_config(config).alphas_cumprod, alphas_of(config), atol=1e-6)


def test_the_list_of_checkpoints_says_what_each_is(tmp_path):
    folder = Workspace(tmp_path).checkpoints
    folder.mkdir(parents=True)
    write("sd2", folder, prediction=None)
    write("sdxl", folder)
    (folder / "broken.safetensors").write_bytes(b"nothing")
    notes = {c.name: c.note for c in StandaloneCheckpoints(Workspace(tmp_path)).choices()}
    assert "tried when it is opened" in notes["tiny-sd2"]
    assert notes["tiny-sdxl"].startswith("SDXL that predicts noise")
    assert "not a safetensors file" in notes["broken"]


@pytest.mark.parametrize(
    "text", ['{"schema": 1, "prediction": "x0"}', '{"schema": 1, "zero_terminal_snr": "yes"}', '{"schema": 1, "head_width": 0}']
)
def test_wrong_hints_are_damage(tmp_path, text):
    from facechain_ext.errors import FileFormatError

    (tmp_path / "x.facechain.json").write_text(text)
    with pytest.raises(FileFormatError, match="is damaged"):
        read_sidecar(tmp_path / "x.safetensors")
    (tmp_path / "x.facechain.json").write_text(json.dumps({"schema": 1, "prediction": "v", "zero_terminal_snr": True, "head_width": 32}))
    found = read_sidecar(tmp_path / "x.safetensors")
    assert (found.prediction, found.zero_terminal_snr, found.head_width) == (Prediction.V, True, 32)
