"""``<lora:name:weight>`` in prompts (modules/extra_networks.py)."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from modules import errors

extra_network_registry: dict[str, Any] = {}


class ExtraNetworkParams:
    def __init__(self, items: list[str]) -> None:
        self.items = items
        pairs = [item.split("=", 2) for item in items]
        self.named = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        self.positional = [item for item, pair in zip(items, pairs, strict=False) if len(pair) != 2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExtraNetworkParams) and self.items == other.items


class ExtraNetwork:
    def __init__(self, name: str) -> None:
        self.name = name


def register_extra_network(network: ExtraNetwork) -> None:
    extra_network_registry[network.name] = network


def parse_prompt(prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
    found: dict[str, list[ExtraNetworkParams]] = defaultdict(list)

    def take(match: re.Match[str]) -> str:
        found[match[1]].append(ExtraNetworkParams(match[2].split(":")))
        return ""

    return re.sub(r"<(\w+):([^>]+)>", take, prompt), found


def parse_prompts(prompts: list[str]) -> tuple[list[str], Any]:
    # The first prompt of a batch decides for all (:201).
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None


def activate(p: Any, data: dict[str, list[ExtraNetworkParams]]) -> None:
    # Networks that are not in the prompt are activated with nothing, which unloads them (:145).
    for name, network in extra_network_registry.items():
        try:
            network.activate(p, list(data.get(name, [])))
        except Exception:
            errors.report(f"activating extra network {name}", exc_info=True)
    if p.scripts is not None:
        p.scripts.run_hook("after_extra_networks_activate", p, batch_number=p.iteration, prompts=p.prompts, seeds=p.seeds)


def deactivate(p: Any, _data: Any) -> None:
    for network in extra_network_registry.values():
        network.deactivate(p)
