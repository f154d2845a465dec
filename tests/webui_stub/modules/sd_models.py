"""Checkpoints and the one model object (modules/sd_models.py)."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from ldm.diffusion import LatentDiffusion
from modules import script_callbacks, shared
from safetensors.torch import load_file

checkpoints_list: dict[str, CheckpointInfo] = {}
checkpoint_aliases: dict[str, CheckpointInfo] = {}
loads: list[str] = []
"""Every load of weights, for the tests."""


class CheckpointInfo:
    def __init__(self, filename: str) -> None:
        self.filename, self.name = filename, os.path.basename(filename)
        self.name_for_extra = self.model_name = Path(filename).stem
        self.sha256 = hashlib.sha256(Path(filename).read_bytes()).hexdigest()
        self.shorthash = self.sha256[:10]
        self.title, self.short_title = f"{self.name} [{self.shorthash}]", f"{self.name_for_extra} [{self.shorthash}]"

    def register(self) -> None:
        checkpoints_list[self.title] = self
        for alias in (self.title, self.name, self.name_for_extra, self.short_title, self.shorthash, self.sha256):
            checkpoint_aliases[alias] = self


class SdModelData:
    sd_model: Any = None

    def get_sd_model(self) -> Any:
        if self.sd_model is None:
            load_model()
        return self.sd_model


model_data = SdModelData()


def list_models() -> None:
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    for file in sorted(Path(shared.cmd_opts.ckpt_dir).glob("*.safetensors")):
        CheckpointInfo(str(file)).register()


def get_closet_checkpoint_match(search: str) -> CheckpointInfo | None:
    return checkpoint_aliases.get(search)


def select_checkpoint() -> CheckpointInfo:
    return checkpoint_aliases.get(shared.opts.sd_model_checkpoint) or next(iter(checkpoints_list.values()))


def load_model_weights(model: Any, info: CheckpointInfo) -> None:
    state = {key.replace("cond_stage_model.", "cond_stage_model.wrapped."): value for key, value in load_file(info.filename).items()}
    model.load_state_dict(state, strict=False)
    model.sd_checkpoint_info, model.sd_model_checkpoint, model.sd_model_hash = info, info.filename, info.shorthash
    shared.opts.data["sd_model_checkpoint"] = info.title
    loads.append(info.name_for_extra)


def load_model(info: CheckpointInfo | None = None) -> Any:
    model: Any = LatentDiffusion()
    load_model_weights(model, info or select_checkpoint())
    model.is_sd1, model.is_sd2, model.is_sdxl, model.is_ssd, model.is_sd3, model.lowvram = True, False, False, False, False, False
    # The UNet's parameters keep requires_grad (ldm freezes text encoder and autoencoder only): 686 of them.
    model.eval()
    model_data.sd_model = model
    script_callbacks.called("model_loaded", model)
    with contextlib.suppress(ImportError):
        # The built-in extension's callback, where it is switched on (extensions-builtin/Lora/scripts/lora_script.py).
        import networks

        networks.assign_network_names_to_compvis_modules(model)
    return model


def reload_model_weights() -> Any:
    """Load what the options say now, into the same object: its hooks and adapters stay (:940)."""
    info, model = select_checkpoint(), model_data.sd_model
    if model is None:
        return load_model(info)
    if model.sd_model_checkpoint != info.filename:
        load_model_weights(model, info)
    return model
