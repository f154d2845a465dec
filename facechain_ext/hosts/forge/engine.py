"""What differs between Forge and reForge: who loads models, who moves them, in which precision the UNet computes.

In both, ``model.forge_objects_original`` holds UNet, text encoder and VAE as loaded, each behind a patcher that moves it and adds LoRAs to
copies of itself; ``forge_objects_after_applying_lora`` is what the next picture is made with.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any, Protocol

import torch
from modules import processing, sd_models

from facechain_ext.errors import HostError
from facechain_ext.hosts.detect import WebUi
from facechain_ext.ports import Prediction

NOT_LOADED = "The WebUI could not load the chosen checkpoint. Its log says why; choose another at the top left and try again."
NONE_CHOSEN = "The WebUI has no checkpoint. Put one into models/Stable-diffusion, choose it at the top left, and try again."


class Engine(Protocol):
    """One of the two."""

    def selected(self) -> Any:
        """What the WebUI knows of the checkpoint it has loaded or will load for the next picture; None when there is none."""
        ...

    def held(self) -> Any:
        """The model of ``selected`` when it is loaded, else None."""
        ...

    def load(self) -> Any:
        """Load ``selected`` where that is not done; the caller holds the queue."""
        ...

    def to_device(self, patcher: Any, *, alone: bool = False) -> None:
        """Let the WebUI's memory management bring what ``patcher`` holds to where it computes; ``alone``: everything else leaves first."""
        ...

    def dtype(self, model: Any) -> torch.dtype:
        """In which the UNet computes."""
        ...

    def storage(self, model: Any) -> str:
        """The name of the precision the UNet's weights are stored in."""
        ...

    def prediction(self, model: Any) -> Prediction | None:
        """What the UNet predicts, None when it is neither noise nor velocity."""
        ...

    def sigmas(self, model: Any) -> torch.Tensor:
        """(T,) noise levels, rising."""
        ...

    def moments(self, model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the scaled latents of ``images`` (B, 3, H, W) in [-1, 1], each (B, 4, h, w)."""
        ...

    def with_lora(self, unet: Any, clip: Any, file: str, weights: tuple[float, float]) -> tuple[Any, Any]:
        """Patchers that add the LoRA with ``weights`` (UNet, text encoder); those given when it fits nothing."""
        ...


def engine_of(webui: WebUi) -> Engine:
    """The engine of ``webui``."""
    return ForgeEngine() if webui is WebUi.FORGE else ReforgeEngine()


class ForgeEngine:
    """Forge; a checkpoint chosen at the top left is loaded for the next picture only (modules_forge/main_entry.py)."""

    def selected(self) -> Any:
        """See ``Engine``."""
        return sd_models.model_data.forge_loading_parameters.get("checkpoint_info")

    def held(self) -> Any:
        """See ``Engine``."""
        data = sd_models.model_data
        return data.sd_model if data.forge_hash and data.forge_hash == str(data.forge_loading_parameters) else None

    def load(self) -> Any:
        """See ``Engine``."""
        if self.selected() is None:
            raise HostError(NONE_CHOSEN)
        try:
            model, _ = sd_models.forge_model_reload()
        except Exception as error:  # whatever its loader raises
            raise HostError(f"{NOT_LOADED} ({type(error).__name__}: {error})") from error
        if getattr(model, "forge_objects_original", None) is None:
            raise HostError(NOT_LOADED)
        return model

    def to_device(self, patcher: Any, *, alone: bool = False) -> None:
        """See ``Engine``."""
        from backend import memory_management

        with torch.inference_mode():
            if alone and patcher.load_device.type != "cpu":
                memory_management.free_memory(1e30, patcher.load_device, [memory_management.LoadedModel(patcher)], free_all=True)
            memory_management.load_models_gpu([patcher])

    def dtype(self, model: Any) -> torch.dtype:
        """See ``Engine``."""
        return _unet(model).computation_dtype

    def storage(self, model: Any) -> str:
        """See ``Engine``."""
        return str(_unet(model).storage_dtype).removeprefix("torch.")

    def prediction(self, model: Any) -> Prediction | None:
        """See ``Engine``."""
        known = {"epsilon": Prediction.EPS, "v_prediction": Prediction.V}
        return known.get(getattr(_unet(model).predictor, "prediction_type", ""))

    def sigmas(self, model: Any) -> torch.Tensor:
        """See ``Engine``; rescaled for zero terminal SNR where sampling does so (modules/processing.py, ``sigmas_backup``)."""
        found = _unet(model).predictor.sigmas
        if getattr(model.model_config, "ztsnr", False):
            from backend.modules.k_prediction import rescale_zero_terminal_snr_sigmas

            with torch.inference_mode():
                found = rescale_zero_terminal_snr_sigmas(found.clone())
        return found

    def moments(self, model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``Engine``."""
        vae = model.forge_objects.vae
        self.to_device(vae.patcher)
        with torch.inference_mode():
            coder = vae.first_stage_model
            # The second argument is called with the distribution in place of drawing from it (backend/nn/vae.py).
            found = coder.encode(images.to(vae.device, vae.vae_dtype), lambda distribution: distribution)
            return coder.process_in(found.mean.float()), found.std.float() * coder.scaling_factor

    def with_lora(self, unet: Any, clip: Any, file: str, weights: tuple[float, float]) -> tuple[Any, Any]:
        """See ``Engine``."""
        import networks
        from backend.args import dynamic_args
        from backend.utils import load_torch_file

        plain = unet.model.storage_dtype in (torch.float32, torch.float16, torch.bfloat16)
        online = not plain and bool(dynamic_args.get("online_lora", False))
        content = load_torch_file(file, safe_load=True)
        return networks.load_lora_for_models(unet, clip, content, *weights, filename=file, online_mode=online)


class ReforgeEngine:
    """reForge, and Forge before August 2024."""

    def selected(self) -> Any:
        """See ``Engine``."""
        model = sd_models.model_data.sd_model
        if model is not None:
            return model.sd_checkpoint_info
        return sd_models.select_checkpoint() if sd_models.checkpoints_list else None

    def held(self) -> Any:
        """See ``Engine``."""
        return sd_models.model_data.sd_model

    def load(self) -> Any:
        """See ``Engine``."""
        if self.selected() is None:
            raise HostError(NONE_CHOSEN)
        sd_models.model_data.get_sd_model()
        sd_models.reload_model_weights()
        model = sd_models.model_data.sd_model
        if getattr(model, "forge_objects_original", None) is None:
            raise HostError(NOT_LOADED)
        return model

    def to_device(self, patcher: Any, *, alone: bool = False) -> None:
        """See ``Engine``."""
        from ldm_patched.modules import model_management

        with torch.inference_mode():
            if alone and patcher.load_device.type != "cpu":
                others = [m for m in model_management.current_loaded_models if m.model is patcher]
                model_management.free_memory(1e30, patcher.load_device, others)
            model_management.load_models_gpu([patcher])

    def dtype(self, model: Any) -> torch.dtype:
        """See ``Engine``."""
        unet = _unet(model)
        return unet.manual_cast_dtype or unet.get_dtype()

    def storage(self, model: Any) -> str:
        """See ``Engine``."""
        return str(_unet(model).get_dtype()).removeprefix("torch.")

    def prediction(self, model: Any) -> Prediction | None:
        """See ``Engine``."""
        kinds = {kind.__name__ for kind in type(_unet(model).model_sampling).__mro__}
        if kinds & {"EDM", "X0", "IMG_TO_IMG"} or "EPS" not in kinds:
            return None
        return Prediction.V if "V_PREDICTION" in kinds else Prediction.EPS

    def sigmas(self, model: Any) -> torch.Tensor:
        """See ``Engine``; rescaled as in Forge."""
        found = _unet(model).model_sampling.sigmas
        if getattr(model, "ztsnr", False):
            from ldm_patched.modules.model_sampling import rescale_zero_terminal_snr_sigmas

            with torch.inference_mode():
                found = rescale_zero_terminal_snr_sigmas(found.clone())
        return found

    def moments(self, model: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``Engine``; its code draws and scales by itself."""
        encoded = model.encode_first_stage(images).float()
        return encoded, torch.zeros_like(encoded)

    def with_lora(self, unet: Any, clip: Any, file: str, weights: tuple[float, float]) -> tuple[Any, Any]:
        """See ``Engine``."""
        import networks
        from ldm_patched.modules.utils import load_torch_file

        content = load_torch_file(file, safe_load=True)
        new_unet, new_clip = networks.load_lora_for_models(unet, clip, content, *weights, filename=file)
        fits = any(found is not None and found.patches for found in (new_unet, new_clip))
        return (new_unet, new_clip) if fits else (unet, clip)


def _unet(model: Any) -> Any:
    return model.forge_objects_original.unet.model


def ask_for_unload(before: bool) -> None:
    """What the user changed about memory during a run still counts after it (Forge only)."""
    if before and hasattr(processing, "need_global_unload"):
        processing.need_global_unload = True
