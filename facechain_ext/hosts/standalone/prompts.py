"""Prompts of any length to conditioning: chunks of 75 tokens between start and end tokens, a new one at each BREAK, as the WebUI does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from facechain_ext.hosts.standalone.loading import Parts
from facechain_ext.styles.tokens import BREAK, CHUNK


def encode(parts: Parts, prompts: Sequence[str], *, gradient: bool = False) -> torch.Tensor:
    """Context (B, 77k, C) of ``prompts``; all get as many chunks as the longest needs."""
    filled = [_chunks(parts, prompt) for prompt in prompts]
    chunks = max(len(of) for of in filled)
    start, end = parts.tokenizer.bos_token_id, parts.tokenizer.eos_token_id
    rows = []
    for of in filled:
        for part in of + [[]] * (chunks - len(of)):
            rows.append([start, *part, *[end] * (CHUNK + 1 - len(part))])
    with torch.set_grad_enabled(gradient):
        hidden = parts.text_encoder(torch.tensor(rows, device=parts.device))[0]
    return hidden.view(len(prompts), chunks * (CHUNK + 2), -1)


def _chunks(parts: Parts, prompt: str) -> list[list[int]]:
    """Token ids of each chunk of ``prompt``, at most 75."""
    found: list[list[int]] = []
    for section in BREAK.split(prompt):
        ids = parts.tokenizer(section, add_special_tokens=False, truncation=False, verbose=False).input_ids
        found += [ids[k : k + CHUNK] for k in range(0, max(1, len(ids)), CHUNK)]
    return found


def matched(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two contexts (B, 77k, C) brought to the same length by repeating the shorter one's chunks."""
    if a.shape[1] == b.shape[1]:
        return a, b
    longest = max(a.shape[1], b.shape[1])

    def grown(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x] * -(-longest // x.shape[1]), dim=1)[:, :longest]

    return grown(a), grown(b)
