"""What everything shares (modules/shared.py, shared_items.py, shared_options.py)."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from modules import options, paths_internal, shared_state
from modules.options import OptionInfo

DEFAULTS: dict[str, Any] = {
    "sd_model_checkpoint": None,
    "CLIP_stop_at_last_layers": 1,
    "samples_save": True,
    "return_grid": True,
    "grid_save": True,
    "grid_only_if_multiple": True,
    "enable_pnginfo": True,
    "persistent_cond_cache": True,
    "sd_lora": "None",
    "lora_functional": False,
    "lora_in_memory_limit": 0,
    "extra_networks_default_multiplier": 1.0,
    "lora_add_hashes_to_infotext": True,
    "jpeg_quality": 80,
}
opts = options.Options({key: OptionInfo(value, key) for key, value in DEFAULTS.items()})
state = shared_state.State()
cmd_opts = SimpleNamespace(
    lora_dir=os.path.join(paths_internal.models_path, "Lora"),
    ckpt_dir=os.path.join(paths_internal.models_path, "Stable-diffusion"),
    api=True,
    nowebui=False,
    api_auth=None,
    lowvram=False,
    medvram=False,
    no_prompt_history=False,
    gradio_allowed_path=[],
)


class _Shared(ModuleType):
    @property
    def sd_model(self) -> Any:
        # Looking at it loads a checkpoint (shared_items.py:172).
        from modules import sd_models

        return sd_models.model_data.get_sd_model()


sys.modules[__name__].__class__ = _Shared
