"""Several LoRAs merged into one file: weighted sums, interference-aware merges, and the better of two for each layer.

Sums of factors are exact until they are cut to a rank (SVD, Eckart & Young 1936). The others work on whole differences: TIES (Yadav et
al. 2023), DARE (Yu et al. 2024) and magnitude pruning with PEFT's functions; ``choice`` follows K-LoRA (Ouyang et al. 2025), which
takes for each layer the LoRA whose largest elements weigh more; ``apart`` takes out of the second what lies in the first one's inputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.lora.files import KohyaState, LoraFile
from facechain_ext.lora.kinds import DoraModule, Update

METHODS = ("linear", "svd", "ties", "dare", "dare-ties", "magnitude", "choice", "apart")
KERNEL_3 = re.compile(r"(_conv[12]?|_in_layers_2|_out_layers_3|_op|conv_in|conv_out)$")
"""kohya's names of 3x3 convolutions, for kinds whose factors do not show the kernel."""
Deltas = list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class FuseSettings:
    """How to merge."""

    method: str = "svd"
    """``linear`` keeps every factor (ranks add up); ``svd`` cuts their sum to ``rank``; the others cut to ``rank`` as well."""
    rank: int = 32
    density: float = 0.5
    """Share of elements kept by ties, dare and magnitude."""
    lean: float = 1.0
    """``choice``: how much the first LoRA's elements count against the others'; above 1 it wins more layers."""
    seed: int = 1
    """Of the elements that dare drops."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserInputError(f"'{self.method}' is no way to merge. There are: {', '.join(METHODS)}.")
        if not (1 <= self.rank <= 1024 and 0 < self.density <= 1 and self.lean > 0):
            raise UserInputError("The rank lies between 1 and 1024, the density above 0 and up to 1, the leaning above 0.")


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """The merged LoRA."""

    state: KohyaState
    """kohya's name -> (down, up) with a scale of 1, all of one rank."""
    chosen: Mapping[str, str]
    """``choice``: layer -> name of the LoRA it was taken from."""
    kept: float
    """Share of the sum's squared length that the rank holds, 0..1."""

    @property
    def rank(self) -> int:
        """Of every layer."""
        return len(next(iter(self.state.values()))[0])


def fuse(loras: Sequence[tuple[LoraFile, float]], settings: FuseSettings) -> Fused:
    """Merge ``loras`` with their weights, the first being the one that matters most (the face).

    Raises:
        UserInputError: for fewer than two, or of different families.
        FileFormatError: for DoRA, which is no sum and needs the checkpoint, and for layers of other sizes.
    """
    if len(loras) < 2:
        raise UserInputError("Merging takes at least two LoRAs.")
    if len({lora.family for lora, _ in loras}) > 1:
        raise UserInputError("LoRAs of different model families cannot be merged.")
    dora = next((lora.name for lora, _ in loras if any(isinstance(u, DoraModule) for u in lora.modules.values())), None)
    if dora is not None:
        raise FileFormatError(
            f"{dora} is a DoRA: it changes with the checkpoint and cannot become part of a file. Blend it while generating."
        )
    state: KohyaState = {}
    chosen: dict[str, str] = {}
    held = whole = 0.0
    for name in sorted({n for lora, _ in loras for n in lora.modules}):
        parts = [(lora.name, weight, lora.modules[name]) for lora, weight in loras if name in lora.modules]
        shape = _shape(parts[0][2], name)
        try:
            pairs = [_pair(update, shape, weight) for _, weight, update in parts]
        except (ValueError, RuntimeError):
            raise FileFormatError(f"The LoRAs {' and '.join(n for n, _, _ in parts)} have layers of different sizes ({name}).") from None
        down, up, share, length = _merged(pairs, [n for n, _, _ in parts], settings, name, chosen)
        held, whole = held + share * length, whole + length
        state[name] = (down.reshape(len(down), *shape[1:]).contiguous(), up.reshape(*up.shape, *[1] * (len(shape) - 2)).contiguous())
    return Fused(_of_one_rank(state), chosen, held / whole if whole else 1.0)


def _of_one_rank(state: KohyaState) -> KohyaState:
    """Narrower layers with rows and columns of zeros, since files have one rank."""
    width = max(len(down) for down, _ in state.values())
    wide: KohyaState = {}
    for name, (down, up) in state.items():
        missing = width - len(down)
        rows, columns = down.new_zeros(missing, *down.shape[1:]), up.new_zeros(len(up), missing, *up.shape[2:])
        wide[name] = (torch.cat([down, rows]), torch.cat([up, columns], 1))
    return wide


def _shape(update: Update, name: str) -> tuple[int, ...]:
    """The layer's (out, in[, kh, kw]), by what the file shows and the layer's name."""
    out, inner, *kernel = update.shape
    return (out, inner // 9, 3, 3) if not kernel and KERNEL_3.search(name) and inner % 9 == 0 else update.shape


def _pair(update: Update, shape: tuple[int, ...], weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """down (r, n) and up (out, r) of ``weight`` times the update, float32 on the CPU."""
    like = torch.zeros(shape)
    pair = update.factors(like)
    if pair is None:
        delta = update.delta(like).flatten(1)
        return (delta, torch.eye(len(delta)) * weight) if len(delta) <= delta.shape[1] else (torch.eye(delta.shape[1]), delta * weight)
    return pair[0].flatten(1), pair[1] * weight


Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def _merged(
    pairs: Pairs, names: Sequence[str], settings: FuseSettings, layer: str, chosen: dict[str, str]
) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """down, up, the share of the squared length that is held, and that length."""
    method = settings.method
    if method == "choice" and len(pairs) > 1:
        best = _heavier(pairs, settings.lean)
        chosen[layer] = names[best]
        pairs = [pairs[best]]
    elif method == "choice":
        chosen[layer] = names[0]
    elif method == "apart":
        pairs = [pairs[0], *(_without(pair, pairs[0]) for pair in pairs[1:])]
    if method in ("ties", "dare", "dare-ties", "magnitude") and len(pairs) > 1:
        return _cut_dense(_interference([up @ down for down, up in pairs], settings, layer), settings.rank)
    down, up = torch.cat([d for d, _ in pairs]), torch.cat([u for _, u in pairs], 1)
    if method == "linear":
        return down, up, 1.0, float((up @ down).square().sum())
    return _cut(down, up, settings.rank)


def _cut(down: torch.Tensor, up: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """up @ down in at most ``rank`` columns; nothing larger than the factors is decomposed."""
    left, left_core = torch.linalg.qr(up.double())
    right, right_core = torch.linalg.qr(down.double().T)
    u, s, v = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    return _halves(left @ u, s, v @ right.T, rank)


def _cut_dense(delta: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    u, s, v = torch.linalg.svd(delta, full_matrices=False)
    return _halves(u.double(), s.double(), v.double(), rank)


def _halves(u: torch.Tensor, s: torch.Tensor, v: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    kept = min(rank, len(s))
    root, length = s[:kept].sqrt(), float(s.square().sum())
    share = float(s[:kept].square().sum()) / length if length else 1.0
    return (v[:kept] * root[:, None]).float(), (u[:, :kept] * root).float(), share, length


def _heavier(pairs: Pairs, lean: float) -> int:
    """The place of the LoRA whose largest elements (as many as the ranks multiplied) have the larger sum of absolute values."""
    many = max(1, min(pairs[0][0].shape[0] * pairs[1][0].shape[0], pairs[0][0].shape[1] * len(pairs[0][1])))
    sums = [float((up @ down).abs().flatten().topk(many).values.sum()) for down, up in pairs]
    return max(range(len(pairs)), key=lambda i: sums[i] * (lean if i == 0 else 1.0))


def _without(pair: tuple[torch.Tensor, torch.Tensor], first: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """``pair`` blind to the input directions that ``first`` reads."""
    basis = torch.linalg.qr(first[0].T.double())[0].to(pair[0])
    return pair[0] - (pair[0] @ basis) @ basis.T, pair[1]


def _interference(deltas: Deltas, settings: FuseSettings, layer: str) -> torch.Tensor:
    from peft.utils import merge_utils

    weights, density = torch.ones(len(deltas)), settings.density
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "ties": lambda: merge_utils.ties(deltas, weights, density),
        "dare": lambda: merge_utils.dare_linear(deltas, weights, density),
        "dare-ties": lambda: merge_utils.dare_ties(deltas, weights, density),
        "magnitude": lambda: merge_utils.magnitude_prune(deltas, weights, density),
    }
    if density >= 1 and settings.method in ("dare", "magnitude"):
        return torch.stack(deltas).sum(0)
    with torch.random.fork_rng(devices=[]):
        # Each layer draws for itself, so that the order of layers decides nothing.
        torch.manual_seed((settings.seed * 1_000_003 + sum(map(ord, layer))) % 2**31)
        return ways[settings.method]()
