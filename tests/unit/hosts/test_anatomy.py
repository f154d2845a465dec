"""Names and shapes of the full-size checkpoints give back the published configuration; no weights are made for it."""

from __future__ import annotations

import json
import math

import pytest

torch = pytest.importorskip("torch")
from diffusers import AutoencoderKL, UNet2DConditionModel

from benchmarks.random_checkpoint import full_size
from facechain_ext.hosts.standalone.anatomy import UNET, is_regular, shapes_of
from facechain_ext.hosts.standalone.loading import DATA, write_config
from facechain_ext.hosts.standalone.sidecar import Sidecar
from facechain_ext.ports import Family

PARAMETERS = {Family.SD2: 865_910_724, Family.SDXL: 2_567_463_684}
"""Of the published UNets."""
DIFFERENT = {Family.SD2: set(), Family.SDXL: {"transformer_layers_per_block"}}
"""What may be written otherwise: the outermost level of SDXL has no transformers, so how deep they would be means nothing."""


@pytest.mark.parametrize("family", list(PARAMETERS))
def test_a_full_size_file_is_configured_as_published(family, tmp_path):
    header = full_size(family)
    found = shapes_of(header, family)
    assert is_regular(header, found.depths, family)
    write_config(tmp_path, family, found, Sidecar())
    folder = DATA / family.value
    for shipped in folder.rglob("config.json"):
        written, published = (json.loads(file.read_text()) for file in (tmp_path / shipped.relative_to(folder), shipped))
        changed = {key for key in written if written[key] != published.get(key)}
        assert changed <= DIFFERENT[family], shipped
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((tmp_path / "unet" / "config.json").read_text()))
        vae = AutoencoderKL.from_config(json.loads((tmp_path / "vae" / "config.json").read_text()))
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS[family]
    assert sum(math.prod(shape) for name, shape in header.items() if name.startswith(UNET)) == PARAMETERS[family]
    assert vae.config["scaling_factor"] == (0.13025 if family is Family.SDXL else 0.18215)
