"""LoRAs that act through hooks while a picture is sampled: another weight at every step, another one in every region.

Nothing touches the weights: what the low-rank factors make of a layer's input is added to its output. So taking the hooks out
leaves the model bit for bit as it was, after an error too.

In a region a LoRA acts on what has a place in the picture: on queries, outputs, feed-forward layers and convolutions by a mask
in the layer's own grid. Keys and values of cross-attention belong to words, not places; there attention is computed for each
region with its own words and LoRAs, and the mask acts on its output. The projection of the time step has no place and stays out.

A LoRA can act otherwise on those rows of the batch where the negative prompt is predicted: what it does less there, guidance does more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from facechain_ext.blend import negative_share, share_of
from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.kinds import DoraModule, Update
from facechain_ext.lora.merge import wrong_size
from facechain_ext.lora.naming import block_weights
from facechain_ext.lora.regions import CONTEXT_NAMES, EVERYWHERE, ContextOf, RegionalAttention, Regions
from facechain_ext.lora.windows import WindowedPrediction
from facechain_ext.ports import Family, LoraWeight, RegionPrompt

OF_WORDS = ("attn2_to_k", "attn2_to_v")
"""Ends of kohya's names of what sees words instead of places."""
Modules = Mapping[str, torch.nn.Module]
NegativeOf = Callable[[torch.Tensor], torch.Tensor]
"""The context (B, L, C) of a call -> which of its rows belong to the negative prompt, (B,) bool."""


@dataclass(slots=True, eq=False)
class _Term:
    """What one LoRA adds to one layer, its block weight included."""

    lora: int
    down: torch.Tensor | None = None
    """(r, in[, kh, kw])."""
    up: torch.Tensor | None = None
    """(out, r)."""
    dense: torch.Tensor | None = None
    """In the weight's shape, for kinds without small factors."""
    gain: torch.Tensor | None = None
    """(out,): share of the layer's own output without its bias that is added (DoRA)."""


class LiveBlend:
    """Several LoRAs on the layers of one UNet, by kohya's names."""

    def __init__(
        self,
        modules: Modules,
        loras: Sequence[tuple[LoraFile, LoraWeight]],
        family: Family,
        prompts: Sequence[RegionPrompt] = (),
        window: int | None = None,
        cfg: float = 1.0,
    ) -> None:
        """Compute factors for every layer that a LoRA changes.

        With a ``window`` each region is predicted by itself, in windows of at least so many latent pixels (see ``windows``). ``cfg`` is the guidance
        that LoRAs are ``guided`` by.

        Raises:
            FileFormatError: when a LoRA was made for layers of other sizes.
        """
        self._weights = [weight for _, weight in loras]
        self.window = window
        regions = [w.region for w in self._weights if w.region is not None] + [p.region for p in prompts]
        self.regions = Regions(regions)
        self.prompts = {self.regions.group(p.region): p.prompt for p in prompts}
        """Group -> the region's own words."""
        self.groups = [self.regions.group(w.region) for w in self._weights]
        """Of each LoRA."""
        self.group = EVERYWHERE
        """Whose words cross-attention is looking at now."""
        self.now: list[float] = []
        """Weight of each LoRA at this step."""
        self.version = 0
        self._shares = [negative_share(w.guided, cfg) for w in self._weights]
        self._negative: tuple[bool, ...] = ()
        self._columns: dict[tuple[Any, ...], torch.Tensor] = {}
        self.missing = tuple(n for lora, _ in loras for n in lora.modules if n.startswith("lora_unet_") and n not in modules)
        """Names in the files that this UNet lacks."""
        self._layers = _layers(modules, loras, family)
        self.at(0, 1)

    def at(self, step: int, total: int) -> None:
        """Let every LoRA act as it should at ``step`` (0 first) of ``total``."""
        share = share_of(step, total)
        now = [float(w.unet) * (w.schedule.at(share) if w.schedule else 1.0) for w in self._weights]
        if now != self.now:
            self.now = now
            self.version += 1
            self._columns.clear()

    def strength(self, lora: int, like: torch.Tensor) -> torch.Tensor | float:
        """The weight of a LoRA now; (B, 1, ...) in the dimensions of ``like`` when rows of the negative prompt have another one."""
        rows = self._rows(lora, len(like))
        if len(set(rows)) == 1:
            return rows[0]
        return torch.tensor(rows).to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))

    def columns(self, active: Sequence[_Term], like: torch.Tensor) -> torch.Tensor | float:
        """The weights of the ``active`` terms for each row of ``like`` and column of their factors, (B or 1, R); one number where all are the same."""
        rows = [self._rows(t.lora, len(like)) for t in active]
        if len({weight for row in rows for weight in row}) == 1:
            return rows[0][0]
        ranks = tuple(len(t.down) for t in active if t.down is not None)
        key = (tuple(rows), ranks, like.device, like.dtype)
        if key not in self._columns:
            wide = [torch.tensor(row)[:, None].expand(-1, rank) for row, rank in zip(rows, ranks, strict=True)]
            longest = max(len(column) for column in wide)
            self._columns[key] = torch.cat([c.expand(longest, -1) for c in wide], 1).to(like.device, like.dtype)
        return self._columns[key]

    def _rows(self, lora: int, many: int) -> tuple[float, ...]:
        """The LoRA's weight for each of ``many`` rows; one number when they all have the same."""
        now, less = self.now[lora], self._shares[lora]
        if less == 1 or len(self._negative) != many or not any(self._negative):
            return (now,)
        return (now * less,) if all(self._negative) else tuple(now * less if no else now for no in self._negative)

    @contextmanager
    def attached(
        self, unet: torch.nn.Module, contexts: Mapping[int, ContextOf] | None = None, negative: NegativeOf | None = None
    ) -> Iterator[LiveBlend]:
        """Act on ``unet`` while the block runs; ``contexts`` gives the encoded words of the groups in ``prompts``.

        Without ``negative`` no row is taken for the negative prompt's.
        """
        handles = []
        try:
            if any(share != 1 for share in self._shares) and negative is not None:
                handles.append(unet.register_forward_pre_hook(self._listen(negative), with_kwargs=True))
            for name, (module, terms) in self._layers.items():
                handles.append(module.register_forward_hook(_Hook(self, terms, of_words=name.endswith(OF_WORDS))))
            if len(self.regions) and self.window is not None:
                windows = WindowedPrediction(self.regions, contexts or {}, self.window, self._enter)
                handles.append(unet.register_forward_pre_hook(windows.before, with_kwargs=True))
                handles.append(unet.register_forward_hook(windows.after, with_kwargs=True))
            elif len(self.regions):
                handles.append(unet.register_forward_pre_hook(self._look, with_kwargs=True))
                needed = set(self.groups) | set(contexts or {})
                for path, module in unet.named_modules():
                    if path.rpartition(".")[2] == "attn2":
                        hook = RegionalAttention(self.regions, contexts or {}, needed.__contains__, self._enter)
                        handles.append(module.register_forward_hook(hook, with_kwargs=True))
            yield self
        finally:
            self._negative = ()
            for handle in handles:
                handle.remove()

    def _enter(self, group: int) -> None:
        self.group = group

    def _listen(self, negative: NegativeOf) -> Callable[..., None]:
        def before(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            context = next((kwargs[n] for n in CONTEXT_NAMES if kwargs.get(n) is not None), args[2] if len(args) > 2 else None)
            self._negative = () if context is None else tuple(bool(no) for no in negative(context).tolist())

        return before

    def _look(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latent = args[0] if args else kwargs.get("sample", kwargs.get("x"))
        if latent is not None:
            self.regions.look(*latent.shape[-2:])


def _layers(
    modules: Modules, loras: Sequence[tuple[LoraFile, LoraWeight]], family: Family
) -> dict[str, tuple[torch.nn.Module, list[_Term]]]:
    found: dict[str, tuple[torch.nn.Module, list[_Term]]] = {}
    for i, (lora, weight) in enumerate(loras):
        of_block = block_weights(weight.blocks, family)
        for name, update in lora.modules.items():
            strength = of_block(name)
            if name not in modules or not strength:
                continue
            module = modules[name]
            weighted = getattr(module, "weight", None)
            # By what it has, not what it is: Forge's linear layer is no nn.Linear.
            if not isinstance(weighted, torch.Tensor) or weighted.ndim not in (2, 4) or getattr(module, "groups", 1) != 1:
                raise FileFormatError(f"The layer {name} of this checkpoint has no weight a LoRA could change.")
            try:
                with torch.no_grad():
                    term = _term(i, update, weighted, strength)
            except (ValueError, RuntimeError):
                raise wrong_size(lora, name) from None
            found.setdefault(name, (module, []))[1].append(term)
    return found


def _term(lora: int, update: Update, weight: torch.Tensor, strength: float) -> _Term:
    weight = weight.detach()
    rows = isinstance(update, DoraModule) and update.by_rows
    inner = update.inner if isinstance(update, DoraModule) and rows else update
    pair = inner.factors(weight)
    if pair is None:
        return _Term(lora, dense=(update.delta(weight) * strength).to(weight.dtype))
    down, up = pair
    gain = None
    if isinstance(update, DoraModule) and rows:
        # (W + BA) scaled by row, less W: (g - 1) W x + g B A x.
        scale = update.gain(weight).flatten()
        up, gain = up * scale[:, None], ((scale - 1) * strength).to(weight.dtype)
    return _Term(lora, down.to(weight.dtype).contiguous(), (up * strength).to(weight.dtype).contiguous(), gain=gain)


class _Hook:
    """The forward hook of one layer."""

    def __init__(self, blend: LiveBlend, terms: Sequence[_Term], *, of_words: bool) -> None:
        self._blend, self._terms, self._of_words = blend, terms, of_words
        self._seen: tuple[int, int] = (-1, 0)
        self._active: list[_Term] = []
        self._stacks: dict[tuple[Any, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        """Add what the LoRAs that act now make of the layer's input."""
        blend = self._blend
        if self._seen != (blend.version, blend.group):
            self._seen = (blend.version, blend.group)
            self._active = [t for t in self._terms if blend.now[t.lora] and self._acts(t)]
        active, x = self._active, args[0]
        if not active:
            return None
        masks = self._masks(x, output)
        if masks is None and not self._of_words and blend.window is None:
            # What has no place in the picture takes no part in a region.
            active = [t for t in active if blend.groups[t.lora] == EVERYWHERE]
        out = output.clone() if output.requires_grad else output.contiguous()
        shares = [(t, None if masks is None or blend.groups[t.lora] == EVERYWHERE else masks[blend.groups[t.lora]]) for t in active]
        for term, share in shares:
            if term.gain is not None:
                _add_gain(module, output, out, term.gain.to(out), blend.strength(term.lora, out), share)
        low = [(t, share) for t, share in shares if t.down is not None]
        if low:
            self._add_low(module, x.to(out.dtype), out, low)
        for term, share in shares:
            if term.dense is not None:
                _add(out, _applied(module, x.to(out.dtype), _on(term.dense, out)) * blend.strength(term.lora, out), share)
        return out

    def _acts(self, term: _Term) -> bool:
        alone = self._of_words or self._blend.window is not None
        return not alone or self._blend.groups[term.lora] in (EVERYWHERE, self._blend.group)

    def _masks(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor | None:
        """Shares of the groups, broadcast over ``output``'s last axes: (G, N, 1) for tokens, (G, 1, h, w) for planes."""
        regions = self._blend.regions
        if not len(regions) or self._of_words or self._blend.window is not None:
            return None
        if output.ndim == 4 and isinstance(x, torch.Tensor) and x.ndim == 4:
            return regions.on(output.shape[2], output.shape[3], output)[:, None]
        if output.ndim == 3:
            found = regions.on_tokens(output.shape[1], output)
            return None if found is None else found[:, :, None]
        return None

    def _add_low(self, module: Any, x: torch.Tensor, out: torch.Tensor, low: Sequence[tuple[_Term, torch.Tensor | None]]) -> None:
        terms = [t for t, _ in low]
        down, up = self._stacked(terms, out)
        columns = self._blend.columns(terms, out)
        planes = out.ndim == 4
        inner = _applied(module, x, down)
        if isinstance(columns, torch.Tensor):
            inner = inner * (columns[:, :, None, None] if planes else columns.reshape(len(columns), *[1] * (inner.ndim - 2), -1))
        inner = _masked(inner, low, planes=planes)
        alpha = 1.0 if isinstance(columns, torch.Tensor) else columns
        if planes:
            batch, channels = out.shape[:2]
            flat = out.view(batch, channels, -1)
            flat.baddbmm_(up.expand(batch, -1, -1), inner.flatten(2), alpha=alpha)
        else:
            out.view(-1, out.shape[-1]).addmm_(inner.reshape(-1, inner.shape[-1]), up.t(), alpha=alpha)

    def _stacked(self, terms: Sequence[_Term], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """down and up of ``terms`` one behind another, kept for each set of LoRAs that acts together."""
        key = (*(t.lora for t in terms), like.device, like.dtype)
        if key not in self._stacks:
            downs, ups = [t.down for t in terms if t.down is not None], [t.up for t in terms if t.up is not None]
            down, up = (downs[0], ups[0]) if len(terms) == 1 else (torch.cat(downs), torch.cat(ups, 1))
            self._stacks[key] = (_on(down, like), _on(up, like))
        return self._stacks[key]


def _on(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.device == like.device and tensor.dtype == like.dtype else tensor.to(like.device, like.dtype)


def _masked(inner: torch.Tensor, low: Sequence[tuple[_Term, torch.Tensor | None]], *, planes: bool) -> torch.Tensor:
    """``inner`` with the columns of each term multiplied by its share of every place."""
    some = next((share for _, share in low if share is not None), None)
    if some is None:
        return inner
    shares = []
    for term, share in low:
        share = torch.ones_like(some) if share is None else share
        rank = len(term.down) if term.down is not None else 0
        shares.append(share.expand(rank, *share.shape[1:]) if planes else share.expand(*share.shape[:-1], rank))
    return inner * torch.cat(shares, 0 if planes else -1)


def _applied(module: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x`` through a layer like ``module`` with another ``weight`` and no bias."""
    if isinstance(module, torch.nn.Conv2d):
        # Its own stride, padding and (tiling) padding mode.
        return module._conv_forward(x, weight, None)
    return torch.nn.functional.linear(x, weight)


def _add(out: torch.Tensor, update: torch.Tensor, share: torch.Tensor | None) -> None:
    out.add_(update if share is None else update * share)


def _add_gain(
    module: Any, base: torch.Tensor, out: torch.Tensor, gain: torch.Tensor, strength: torch.Tensor | float, share: torch.Tensor | None
) -> None:
    shape = (-1, 1, 1) if base.ndim == 4 else (-1,)
    bias = getattr(module, "bias", None)
    bare = base if bias is None else base - bias.detach().to(base).view(shape)
    _add(out, bare * gain.view(shape) * strength, share)
