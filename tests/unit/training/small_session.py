"""A TrainSession that takes milliseconds: a real denoiser of pixels with random weights, on the CPU, in any precision."""

from __future__ import annotations

import contextlib

import numpy as np
import torch

from facechain_ext.ports import CheckpointInfo, Conditioning, Family, Prediction, TextEncoder

CONTEXT = 6


class Denoiser(torch.nn.Module):
    """Latents (B, 4, h, w), timesteps and context -> (B, 4, h, w); every pixel by itself."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.first = torch.nn.Linear(4 + 2 + CONTEXT, 32)
        self.second = torch.nn.Conv2d(32, 32, 1)
        self.third = torch.nn.Linear(32, 4)

    def forward(self, noisy, timesteps, context):
        when = timesteps.to(noisy) / self.steps
        told = torch.cat([when[:, None], 1 - when[:, None], context.to(noisy).mean(1)], 1)
        pixels = torch.cat([noisy, told[:, :, None, None].expand(-1, -1, *noisy.shape[2:])], 1)
        hidden = torch.nn.functional.silu(self.first(pixels.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        hidden = torch.nn.functional.silu(self.second(hidden))
        return self.third(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Words(torch.nn.Module):
    """A text encoder of one layer, which changes nothing until it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(CONTEXT, CONTEXT, bias=False)
        torch.nn.init.eye_(self.inner.weight)

    def forward(self, tokens):
        return self.inner(tokens)


class SmallSession:
    """Implements ``TrainSession``; latents are averaged colours."""

    def __init__(self, prediction: Prediction = Prediction.EPS, dtype: torch.dtype = torch.float32) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.unet = Denoiser(100).requires_grad_(False).eval().to(dtype)
            self.words = Words().requires_grad_(False).eval()
        self.checkpoint = CheckpointInfo("small", "5" * 64, Family.SD1, prediction, 64)
        self.alphas_cumprod = torch.cumprod(1 - torch.linspace(0.001, 0.12, 100), 0)
        self.device, self.dtype = torch.device("cpu"), dtype
        self.prompts: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.images = 0
        self.contexts: list[torch.Tensor] = []

    def lora_targets(self, reach="linear"):
        return {path: f"lora_unet_{path}" for path in ("first", "second", "third")}

    def text_encoders(self):
        return [TextEncoder(self.words, {"inner": "lora_te_inner"})]

    def encode_images(self, images):
        self.images += len(images)
        pooled = torch.nn.functional.avg_pool2d(images, 8)
        return torch.cat([pooled, pooled.mean(1, keepdim=True)], 1), torch.full((len(images), 4, *pooled.shape[2:]), 0.1)

    def encode_prompts(self, prompts, sizes, *, gradient=False):
        """77 tokens for each 20 characters begun, every row as long as the longest, different for different words."""
        self.prompts += prompts
        self.sizes += sizes
        chunks = max(1, *(-(-len(p) // 20) for p in prompts))
        rows = []
        for prompt in prompts:
            draw = torch.Generator().manual_seed(sum(ord(c) * (i + 1) for i, c in enumerate(prompt)))
            rows.append(torch.randn(1, CONTEXT, generator=draw).expand(77 * chunks, -1))
        with torch.set_grad_enabled(gradient):
            return Conditioning(self.words(torch.stack(rows)))

    def predict(self, noisy, timesteps, conditioning):
        self.contexts.append(conditioning.context[:, 0].detach().clone())
        return self.unet(noisy, timesteps, conditioning.context)

    def checkpoint_blocks(self):
        """Nothing in it is worth forgetting."""
        return False

    def offload_blocks(self):
        """It is where it is."""
        return False

    def preview(self, request, cancel):
        for seed in request.seeds:
            cancel.raise_if_cancelled()
            noise = torch.randn(1, 4, request.height // 8, request.width // 8, generator=torch.Generator().manual_seed(seed))
            with torch.no_grad():
                shade = self.unet(noise.to(self.dtype), torch.tensor([50]), torch.zeros(1, 77, CONTEXT)).float().mean().sigmoid()
            yield np.full((request.height, request.width, 3), int(255 * float(shade)), np.uint8)

    def report(self, event, cancel):
        """Nobody else shows progress here."""


@contextlib.contextmanager
def untouched(session: SmallSession):
    """Whatever happens inside, the session's model must be as before."""

    def state():
        model = torch.nn.ModuleList([session.unet, session.words])
        modules = [(n, id(m), m.training, len(m._forward_hooks), sorted(m.__dict__)) for n, m in model.named_modules() if n]
        parameters = [(n, id(p), p.requires_grad, p.grad is None) for n, p in model.named_parameters()]
        return modules, parameters, [p.detach().clone() for p in model.parameters()], torch.get_rng_state()

    before = state()
    yield
    after = state()
    assert after[:2] == before[:2]
    assert all(torch.equal(a, b) for a, b in zip(after[2], before[2], strict=True))
    assert torch.equal(after[3], before[3])
