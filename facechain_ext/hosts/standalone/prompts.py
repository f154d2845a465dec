"""Prompts of any length to conditioning: chunks of 75 tokens between start and end tokens, as the WebUI does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from facechain_ext.hosts.standalone.loading import Parts

CHUNK = 75


def encode(parts: Parts, prompts: Sequence[str]) -> torch.Tensor:
    """Context (B, 77k, C) of ``prompts``; all get as many chunks as the longest needs."""
    tokens = [parts.tokenizer(p, add_special_tokens=False, truncation=False, verbose=False).input_ids for p in prompts]
    chunks = max(1, *(-(-len(t) // CHUNK) for t in tokens))
    start, end = parts.tokenizer.bos_token_id, parts.tokenizer.eos_token_id
    rows = []
    for ids in tokens:
        for k in range(chunks):
            part = ids[k * CHUNK : (k + 1) * CHUNK]
            rows.append([start, *part, *[end] * (CHUNK + 1 - len(part))])
    with torch.no_grad():
        hidden = parts.text_encoder(torch.tensor(rows, device=parts.device))[0]
    return hidden.view(len(prompts), chunks * (CHUNK + 2), -1)


def matched(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two contexts (B, 77k, C) brought to the same length by repeating the shorter one's chunks."""
    if a.shape[1] == b.shape[1]:
        return a, b
    longest = max(a.shape[1], b.shape[1])

    def grown(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x] * -(-longest // x.shape[1]), dim=1)[:, :longest]

    return grown(a), grown(b)
