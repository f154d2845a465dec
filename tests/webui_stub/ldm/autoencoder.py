"""The autoencoder with the attribute names of CompVis' latent diffusion (ldm.modules.diffusionmodules.model)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTHS, BLOCKS = (1, 2, 4, 4), 2


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width), nn.Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out), nn.Conv2d(out, out, 3, padding=1)
        if width != out:
            self.nin_shortcut = nn.Conv2d(width, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.conv2(functional.silu(self.norm2(self.conv1(functional.silu(self.norm1(x))))))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + hidden


class AttnBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(x)
        q, k, v = (part(hidden).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(mixed)


class Resample(nn.Module):
    def __init__(self, width: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv = nn.Conv2d(width, width, 3, stride=2) if down else nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.down:
            return self.conv(functional.pad(x, (0, 1, 0, 1)))
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def middle(width: int) -> nn.Module:
    made = nn.Module()
    made.block_1, made.attn_1, made.block_2 = ResnetBlock(width, width), AttnBlock(width), ResnetBlock(width, width)
    return made


def through(middle: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return middle.block_2(middle.attn_1(middle.block_1(x)))


class Encoder(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in, self.down, now = nn.Conv2d(3, channels, 3, padding=1), nn.ModuleList(), channels
        for level, times in enumerate(WIDTHS):
            stage = nn.Module()
            stage.block = nn.ModuleList([ResnetBlock(now if i == 0 else times * channels, times * channels) for i in range(BLOCKS)])
            now = times * channels
            if level < len(WIDTHS) - 1:
                stage.downsample = Resample(now, down=True)
            self.down.append(stage)
        self.mid, self.norm_out, self.conv_out = middle(now), norm(now), nn.Conv2d(now, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for stage in self.down:
            for block in stage.block:
                x = block(x)
            x = stage.downsample(x) if hasattr(stage, "downsample") else x
        return self.conv_out(functional.silu(self.norm_out(through(self.mid, x))))


class Decoder(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        now = WIDTHS[-1] * channels
        self.conv_in, self.mid, stages = nn.Conv2d(4, now, 3, padding=1), middle(now), []
        for level, times in reversed(list(enumerate(WIDTHS))):
            stage = nn.Module()
            stage.block = nn.ModuleList([ResnetBlock(now if i == 0 else times * channels, times * channels) for i in range(BLOCKS + 1)])
            now = times * channels
            if level:
                stage.upsample = Resample(now, down=False)
            stages.insert(0, stage)
        self.up = nn.ModuleList(stages)
        self.norm_out, self.conv_out = norm(now), nn.Conv2d(now, 3, 3, padding=1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        z = through(self.mid, self.conv_in(z))
        for stage in reversed(self.up):
            for block in stage.block:
                z = block(z)
            z = stage.upsample(z) if hasattr(stage, "upsample") else z
        return self.conv_out(functional.silu(self.norm_out(z)))


class DiagonalGaussianDistribution:
    """What ``encode_first_stage`` gives: no tensor, and its sample draws from the global generator."""

    def __init__(self, moments: torch.Tensor) -> None:
        self.mean, log_variance = moments.chunk(2, dim=1)
        self.std = (0.5 * log_variance.clamp(-30, 20)).exp()

    def sample(self) -> torch.Tensor:
        return self.mean + self.std * torch.randn(self.mean.shape)


class AutoencoderKL(nn.Module):
    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(channels), Decoder(channels)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)

    def encode(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(x)))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.post_quant_conv(z))
