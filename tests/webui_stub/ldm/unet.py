"""A narrow UNet with the topology and attribute names of CompVis' latent diffusion (ldm.modules.diffusionmodules.openaimodel)."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

WIDTHS, BLOCKS = (1, 2, 4, 4), 2
"""Channel multiples and residual blocks of each level; all but the lowest have transformers, as SD1 has."""


def group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=eps)


def timestep_embedding(timesteps: torch.Tensor, width: int) -> torch.Tensor:
    angles = torch.exp(-math.log(10000) * torch.arange(width // 2, device=timesteps.device) / (width // 2))
    phases = timesteps[:, None].float() * angles[None]
    return torch.cat([phases.cos(), phases.sin()], dim=-1)


class CrossAttention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        context = x if context is None else context
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(x), self.to_k(context), self.to_v(context)))
        return self.to_out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * functional.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(width, width * 4), nn.Dropout(0.0), nn.Linear(width * 4, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(width, width, heads)
        self.ff = FeedForward(width)
        self.attn2 = CrossAttention(width, context, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context=context) + x
        return self.ff(self.norm3(x)) + x


class SpatialTransformer(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm = group_norm(width, 1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([BasicTransformerBlock(width, context, heads)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        height = x.shape[2]
        hidden = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            hidden = block(hidden, context=context)
        return x + self.proj_out(hidden.transpose(1, 2).unflatten(2, (height, -1)))


class ResBlock(nn.Module):
    def __init__(self, width: int, embedding: int, out: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(group_norm(width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, out))
        self.out_layers = nn.Sequential(group_norm(out), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(out, out, 3, padding=1))
        self.skip_connection = nn.Identity() if width == out else nn.Conv2d(width, out, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        return self.skip_connection(x) + self.out_layers(self.in_layers(x) + self.emb_layers(emb)[..., None, None])


class Downsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


class TimestepEmbedSequential(nn.Sequential):
    def forward(self, x: torch.Tensor, emb: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    def __init__(self, model_channels: int = 32, context_dim: int = 64, num_heads: int = 2, in_channels: int = 4) -> None:
        super().__init__()
        self.model_channels, self.num_heads = model_channels, num_heads
        embedding = model_channels * 4
        self.time_embed = nn.Sequential(nn.Linear(model_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        now, widths = model_channels, [model_channels]

        def block(width: int, out: int, level: int) -> list[nn.Module]:
            layers: list[nn.Module] = [ResBlock(width, embedding, out)]
            return [*layers, SpatialTransformer(out, context_dim, num_heads)] if level < len(WIDTHS) - 1 else layers

        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(nn.Conv2d(in_channels, now, 3, padding=1))])
        for level, times in enumerate(WIDTHS):
            for _ in range(BLOCKS):
                self.input_blocks.append(TimestepEmbedSequential(*block(now, times * model_channels, level)))
                now = times * model_channels
                widths.append(now)
            if level < len(WIDTHS) - 1:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(now)))
                widths.append(now)
        self.middle_block = TimestepEmbedSequential(
            ResBlock(now, embedding, now), SpatialTransformer(now, context_dim, num_heads), ResBlock(now, embedding, now)
        )
        self.output_blocks = nn.ModuleList()
        for level, times in reversed(list(enumerate(WIDTHS))):
            for place in range(BLOCKS + 1):
                layers = block(now + widths.pop(), times * model_channels, level)
                now = times * model_channels
                self.output_blocks.append(TimestepEmbedSequential(*layers, *([Upsample(now)] if level and place == BLOCKS else [])))
        self.out = nn.Sequential(group_norm(now), nn.SiLU(), nn.Conv2d(now, 4, 3, padding=1))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels))
        kept = []
        for block in self.input_blocks:
            x = block(x, emb, context)
            kept.append(x)
        x = self.middle_block(x, emb, context)
        for block in self.output_blocks:
            x = block(torch.cat([x, kept.pop()], dim=1), emb, context)
        return self.out(x)
