"""Prompts to conditioning as the WebUI does it: weighted words in chunks of 75 tokens, words that change over the steps, AND."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from facechain_ext.hosts.standalone.loading import Parts
from facechain_ext.ports import Conditioning, Family
from facechain_ext.styles.syntax import Piece, joined_by_and, stretches, weighted
from facechain_ext.styles.tokens import CHUNK

BACKTRACK = 20
"""A clause that does not fit is moved to the next chunk as a whole when its comma is at most so many tokens back (the WebUI's default)."""
COMMA = ","
PADS: dict[Family, tuple[int | None, ...]] = {Family.SD1: (None,), Family.SD2: (0,), Family.SDXL: (None, 0)}
"""What each text encoder's chunks are filled up with: the end token, or OpenCLIP's 0."""


@dataclass(slots=True)
class Chunk:
    """At most 75 tokens and the weight of each."""

    tokens: list[int]
    weights: list[float]

    @classmethod
    def empty(cls) -> Chunk:
        """No words."""
        return cls([], [])

    def cut(self, at: int) -> Chunk:
        """Take out and return what is behind the first ``at`` tokens."""
        rest = Chunk(self.tokens[at:], self.weights[at:])
        del self.tokens[at:], self.weights[at:]
        return rest


def chunked(parts: Parts, prompt: str) -> list[Chunk]:
    """The chunks of ``prompt``, at least one; a new one at BREAK and when one is full, there behind its last comma if that is near."""
    return filled([(piece, _ids(parts, piece.text)) for piece in weighted(prompt)], _ids(parts, COMMA)[0])


def filled(pieces: Sequence[tuple[Piece, Sequence[int]]], comma: int) -> list[Chunk]:
    """Chunks of pieces whose token ids are given, ``comma`` being the comma's."""
    done: list[Chunk] = []
    now, behind = Chunk.empty(), 0
    for piece, ids in pieces:
        if piece.new_chunk:
            done.append(now)
            now, behind = Chunk.empty(), 0
            continue
        for token in ids:
            full = len(now.tokens) == CHUNK
            if full:
                near = token != comma and behind and CHUNK - behind < BACKTRACK
                done.append(now)
                now, behind = now.cut(behind) if near else Chunk.empty(), 0
            now.tokens.append(token)
            now.weights.append(piece.weight)
            # A comma that opens a chunk counts for nothing there.
            if token == comma and not full:
                behind = len(now.tokens)
    return [*done, now] if now.tokens or not done else done


def _ids(parts: Parts, text: str) -> list[int]:
    return list(parts.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)


def encode(parts: Parts, prompts: Sequence[str], *, gradient: bool = False, skip: int = 1, together: bool = False) -> torch.Tensor:
    """The context of ``encoded`` alone."""
    return encoded(parts, prompts, gradient=gradient, skip=skip, together=together).context


def encoded(parts: Parts, prompts: Sequence[str], *, gradient: bool = False, skip: int = 1, together: bool = False) -> Conditioning:
    """Context (B, 77k, C) of ``prompts``, their weights applied; all get as many chunks as the longest needs. SDXL's also have the pooled
    text (B, P) of the first chunk, which weights do not change.

    ``skip`` 2 takes what the layer before the last says, and so on (the WebUI's Clip skip; only SD1 listens). Weights multiply what an
    encoder says of a token, and the mean of each chunk is restored; with ``together``, the mean of all prompts' chunks of the same place.
    """
    found = [chunked(parts, prompt) for prompt in prompts]
    many = max(len(chunks) for chunks in found)
    rows = [chunk for chunks in found for chunk in chunks + [Chunk.empty()] * (many - len(chunks))]
    weights = torch.tensor([_padded(1.0, row.weights, 1.0) for row in rows]).view(len(prompts), many, CHUNK + 2, 1)
    contexts, pooled = [], None
    with torch.set_grad_enabled(gradient):
        for encoder, pad in zip(parts.text_encoders, PADS[parts.family], strict=True):
            hidden, told = _hidden(parts, encoder, _ids_of(parts, rows, pad), skip)
            hidden = hidden.view(len(prompts), many, CHUNK + 2, -1)
            if bool((weights != 1).any()):
                over = (0, 2, 3) if together else (2, 3)
                louder = hidden * weights.to(hidden)
                hidden = louder * (hidden.mean(over, keepdim=True) / louder.mean(over, keepdim=True))
            contexts.append(hidden)
            pooled = pooled if told is None else told.view(len(prompts), many, -1)[:, 0]
    return Conditioning((contexts[0] if len(contexts) == 1 else torch.cat(contexts, -1)).flatten(1, 2), pooled)


def sized(conditioning: Conditioning, sizes: Sequence[tuple[int, int]]) -> Conditioning:
    """``conditioning`` with what SDXL is told of uncut pictures of ``sizes`` (width, height) px: original size, corner, size; heights first."""
    if conditioning.pooled is None:
        return conditioning
    told = [(height, width, 0, 0, height, width) for width, height in sizes]
    return replace(conditioning, size_ids=torch.tensor(told, dtype=torch.float32, device=conditioning.context.device))


def _ids_of(parts: Parts, rows: Sequence[Chunk], pad: int | None) -> torch.Tensor:
    """(rows, 77): each chunk between start and end, filled up with ``pad``, or the end when it is None."""
    start, end = parts.tokenizer.bos_token_id, parts.tokenizer.eos_token_id
    filling = end if pad is None else pad
    return torch.tensor([[start, *row.tokens, end, *[filling] * (CHUNK - len(row.tokens))] for row in rows], device=parts.device)


def _hidden(parts: Parts, encoder: Any, ids: torch.Tensor, skip: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What ``encoder`` says of each token (rows, 77, C), and of each row as a whole where it does."""
    if parts.family is Family.SDXL:
        # Without the last layer and its norm, as SDXL was taught.
        found = encoder(ids, output_hidden_states=True)
        return found.hidden_states[-2], getattr(found, "text_embeds", None)
    if skip == 1 or parts.family is not Family.SD1:
        return encoder(ids)[0], None
    inner = getattr(encoder, "text_model", encoder)
    states = inner(ids, output_hidden_states=True).hidden_states
    return inner.final_layer_norm(states[-min(skip, len(states))]), None


def _padded(first: float, inner: Sequence[float], last: float) -> list[float]:
    return [first, *inner, *[last] * (CHUNK + 1 - len(inner))]


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A prompt encoded for every step."""

    lasts: tuple[int, ...]
    """Last step of each stretch, 0 first."""
    contexts: torch.Tensor
    """(stretches, 77k, C)."""
    weight: float = 1.0
    """How much it counts beside others joined by AND."""
    pooled: torch.Tensor | None = None
    """(stretches, P), SDXL's."""

    def at(self, step: int) -> torch.Tensor:
        """(1, 77k, C) at ``step``, 0 first."""
        i = self._stretch(step)
        return self.contexts[i : i + 1]

    def pooled_at(self, step: int) -> torch.Tensor | None:
        """(1, P) at ``step``."""
        i = self._stretch(step)
        return None if self.pooled is None else self.pooled[i : i + 1]

    def _stretch(self, step: int) -> int:
        return next((i for i, last in enumerate(self.lasts) if step <= last), 0)


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """What sampling is led towards, and away from."""

    unwanted: Heard
    wanted: tuple[Heard, ...]

    @property
    def constant(self) -> bool:
        """True when nothing changes over the steps."""
        return all(len(heard.lasts) == 1 for heard in (self.unwanted, *self.wanted))

    def at(self, step: int) -> torch.Tensor:
        """(1 + wanted, 77k, C) at ``step``, 0 first: the negative prompt before all others."""
        return torch.cat(matched([heard.at(step) for heard in (self.unwanted, *self.wanted)]))

    def pooled_at(self, step: int) -> torch.Tensor | None:
        """(1 + wanted, P) at ``step``, in the same order; None but for SDXL."""
        found = [heard.pooled_at(step) for heard in (self.unwanted, *self.wanted)]
        there = [pooled for pooled in found if pooled is not None]
        return torch.cat(there) if there else None

    def mixed(self, predictions: torch.Tensor, cfg: float) -> torch.Tensor:
        """What to follow (B, ...), of ``predictions`` ((1 + wanted) B, ...) in the order of ``at``."""
        without, *found = predictions.chunk(1 + len(self.wanted))
        return without + sum((cfg * heard.weight) * (with_ - without) for heard, with_ in zip(self.wanted, found, strict=True))


def guided(parts: Parts, prompt: str, negative: str, steps: int, skip: int = 1) -> Guidance:
    """``prompt`` and ``negative`` for ``steps`` steps; AND counts in the former only, as in the WebUI.

    SDXL was taught zeros in place of no words, and is shown them for an empty negative prompt, as the WebUI does.
    """
    unwanted = _heard(parts, Piece(negative), steps, skip)
    if unwanted.pooled is not None and not negative:
        unwanted = replace(unwanted, contexts=torch.zeros_like(unwanted.contexts), pooled=torch.zeros_like(unwanted.pooled))
    return Guidance(unwanted, tuple(_heard(parts, piece, steps, skip) for piece in joined_by_and(prompt)))


def _heard(parts: Parts, piece: Piece, steps: int, skip: int) -> Heard:
    found = stretches(piece.text, steps)
    words = encoded(parts, [stretch.prompt for stretch in found], skip=skip, together=True)
    return Heard(tuple(stretch.last for stretch in found), words.context, piece.weight, words.pooled)


def matched(contexts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Contexts (B, 77k, C) brought to one length by repeating each as a whole, which attention does not notice."""
    longest = math.lcm(*(context.shape[1] for context in contexts))
    return [context.repeat(1, longest // context.shape[1], 1) for context in contexts]
