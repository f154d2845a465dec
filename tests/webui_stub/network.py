"""LoRA files and their layers (extensions-builtin/Lora/network.py, network_lora.py)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open


class NetworkOnDisk:
    def __init__(self, name: str, filename: str) -> None:
        self.name, self.filename = name, filename
        with safe_open(filename, "pt") as opened:
            self.metadata = opened.metadata() or {}
        self.alias = self.metadata.get("ss_output_name", name)
        self.hash = self.metadata.get("sshs_model_hash") or hashlib.sha256(Path(filename).read_bytes()).hexdigest()
        self.shorthash = self.hash[:12]


class Network:
    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None:
        self.name, self.network_on_disk = name, network_on_disk
        self.te_multiplier = self.unet_multiplier = 1.0
        self.dyn_dim: int | None = None
        self.modules: dict[str, NetworkModule] = {}
        self.mtime, self.mentioned_name = 0.0, None


class NetworkModule:
    """Down and up matrix of one layer. The host makes layers of them, which draws from the global generator (network_lora.py:45)."""

    def __init__(self, network: Network, key: str, layer: Any, weights: dict[str, torch.Tensor]) -> None:
        self.network, self.key = network, key
        self.down, self.up = weights["lora_down.weight"], weights["lora_up.weight"]
        torch.nn.Linear(self.down.shape[1], self.down.shape[0], bias=False)
        self.scale = float(weights["alpha"]) / self.down.shape[0] if "alpha" in weights else 1.0

    def calc_updown(self, weight: torch.Tensor) -> torch.Tensor:
        multiplier = self.network.te_multiplier if "transformer" in self.key[:20] else self.network.unet_multiplier
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return product.reshape(weight.shape) * self.scale * multiplier
