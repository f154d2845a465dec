"""The built-in Lora extension: weights are changed in place, layer by layer, at the next forward (extensions-builtin/Lora/networks.py)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import network
import torch
from modules import errors, extra_networks, sd_hijack, shared
from safetensors.torch import load_file

available_networks: dict[str, network.NetworkOnDisk] = {}
available_network_aliases: dict[str, network.NetworkOnDisk] = {}
loaded_networks: list[network.Network] = []
networks_in_memory: dict[str, network.Network] = {}
PATCHED = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm)
originals: dict[tuple[type, str], Any] = {}


def assign_network_names_to_compvis_modules(sd_model: Any) -> None:
    sd_model.network_layer_mapping = mapping = {}
    for root in (sd_model.cond_stage_model.wrapped, sd_model.model):
        for name, module in root.named_modules():
            module.network_layer_name = name.replace(".", "_")
            mapping[module.network_layer_name] = module


def convert_diffusers_name_to_compvis(key: str) -> str:
    """``lora_unet_down_blocks_0_attentions_1_proj_in`` -> ``diffusion_model_input_blocks_2_1_proj_in`` (:56)."""
    if m := re.match(r"lora_unet_(down|up)_blocks_(\d+)_attentions_(\d+)_(.+)", key):
        side, number = ("input", 1 + int(m[2]) * 3 + int(m[3])) if m[1] == "down" else ("output", int(m[2]) * 3 + int(m[3]))
        return f"diffusion_model_{side}_blocks_{number}_1_{m[4]}"
    if m := re.match(r"lora_unet_mid_block_attentions_0_(.+)", key):
        return f"diffusion_model_middle_block_1_{m[1]}"
    return re.sub("^lora_te_", "transformer_", key)


def load_network(name: str, network_on_disk: network.NetworkOnDisk) -> network.Network:
    net = network.Network(name, network_on_disk)
    net.mtime = os.path.getmtime(network_on_disk.filename)
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in load_file(network_on_disk.filename).items():
        layer, _, part = key.partition(".")
        found.setdefault(convert_diffusers_name_to_compvis(layer), {})[part] = value
    for key, weights in found.items():
        # What fits no layer is left out silently (:268).
        if (module := shared.sd_model.network_layer_mapping.get(key)) is not None:
            net.modules[key] = network.NetworkModule(net, key, module, weights)
    return net


def load_networks(names: list[str], te_multipliers: Any = None, unet_multipliers: Any = None, dyn_dims: Any = None) -> None:
    already = {net.name: net for net in loaded_networks if net.name in names}
    loaded_networks.clear()
    if any(name not in available_network_aliases for name in names):
        list_available_networks()
    for i, name in enumerate(names):
        on_disk = available_network_aliases.get(name)
        net = already.get(name) or networks_in_memory.get(name)
        if on_disk is not None:
            if net is None or os.path.getmtime(on_disk.filename) > net.mtime:
                try:
                    net = load_network(name, on_disk)
                except Exception as error:
                    errors.display(error, f"loading network {on_disk.filename}")
                    continue
                networks_in_memory[name] = net
            net.mentioned_name = name
        if net is None:
            # No error, only a comment on the page (:360).
            sd_hijack.model_hijack.comments.append(f"Lora not found: {name}")
            continue
        net.te_multiplier = te_multipliers[i] if te_multipliers else 1.0
        net.unet_multiplier = unet_multipliers[i] if unet_multipliers else 1.0
        net.dyn_dim = dyn_dims[i] if dyn_dims else 1.0
        loaded_networks.append(net)
    while len(networks_in_memory) > shared.opts.lora_in_memory_limit:
        networks_in_memory.pop(next(iter(networks_in_memory)))


def network_apply_weights(self: Any) -> None:
    """Bring this layer's weights to what is wanted now (:411): a layer that does not run keeps what it has."""
    if getattr(self, "network_layer_name", None) is None:
        return
    current = getattr(self, "network_current_names", ())
    # Names and multipliers only: another file of the same name counts as applied.
    wanted = tuple((net.name, net.te_multiplier, net.unet_multiplier, net.dyn_dim) for net in loaded_networks)
    if getattr(self, "network_weights_backup", None) is None and wanted:
        self.network_weights_backup = self.weight.to("cpu", copy=True)
        self.network_bias_backup = self.bias.to("cpu", copy=True) if self.bias is not None else None
    if current == wanted:
        return
    for name in ("weight", "bias"):
        if (backup := getattr(self, f"network_{'weights' if name == 'weight' else name}_backup", None)) is not None:
            # Not under no_grad: of a parameter that requires a gradient this fails while gradients are on (:383).
            getattr(self, name).copy_(backup)
    for net in loaded_networks:
        if (module := net.modules.get(self.network_layer_name)) is not None:
            with torch.no_grad():
                self.weight.copy_((self.weight.float() + module.calc_updown(self.weight)).to(self.weight.dtype))
    self.network_current_names = wanted


def _patch(owner: Any) -> None:
    forward, load = owner.forward, owner._load_from_state_dict

    def patched_forward(self: Any, input: torch.Tensor) -> torch.Tensor:
        network_apply_weights(self)
        return forward(self, input)

    def patched_load(self: Any, *args: Any, **kwargs: Any) -> Any:
        # A reloaded layer has nothing applied and nothing to go back to (:572).
        self.network_current_names, self.network_weights_backup, self.network_bias_backup = (), None, None
        return load(self, *args, **kwargs)

    originals[owner, "forward"], originals[owner, "load"] = forward, load
    owner.forward, owner._load_from_state_dict = patched_forward, patched_load


def list_available_networks() -> None:
    available_networks.clear()
    available_network_aliases.clear()
    Path(shared.cmd_opts.lora_dir).mkdir(parents=True, exist_ok=True)
    for file in sorted(Path(shared.cmd_opts.lora_dir).rglob("*.safetensors")):
        entry = network.NetworkOnDisk(file.stem, str(file))
        available_networks[file.stem] = available_network_aliases[file.stem] = available_network_aliases[entry.alias] = entry


class ExtraNetworkLora(extra_networks.ExtraNetwork):
    """``<lora:name:text:unet>`` (extra_networks_lora.py)."""

    def __init__(self) -> None:
        super().__init__("lora")

    def activate(self, p: Any, params_list: list[extra_networks.ExtraNetworkParams]) -> None:
        additional = shared.opts.sd_lora
        if additional != "None" and additional in available_networks and not any(x.items[0] == additional for x in params_list):
            p.all_prompts = [f"{x}<lora:{additional}:{shared.opts.extra_networks_default_multiplier}>" for x in p.all_prompts]
            params_list.append(extra_networks.ExtraNetworkParams([additional, str(shared.opts.extra_networks_default_multiplier)]))
        text = [float(x.named.get("te", x.positional[1] if len(x.positional) > 1 else 1.0)) for x in params_list]
        unet = [
            float(x.named.get("unet", x.positional[2] if len(x.positional) > 2 else t)) for x, t in zip(params_list, text, strict=False)
        ]
        load_networks([x.positional[0] for x in params_list], text, unet, [None] * len(params_list))
        if loaded_networks and shared.opts.lora_add_hashes_to_infotext:
            hashes = (f"{net.mentioned_name}: {net.network_on_disk.shorthash}" for net in loaded_networks)
            p.extra_generation_params["Lora hashes"] = ", ".join(hashes)

    def deactivate(self, p: Any) -> None:
        """The weights stay merged until a layer's next forward."""


if not originals:
    for one in PATCHED:
        _patch(one)
extra_networks.register_extra_network(ExtraNetworkLora())
list_available_networks()
