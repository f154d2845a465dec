"""Train the autoencoder on 64-px crops: L1 on pixels and on their gradients at two scales, and a light KL term.

``--decoder-only`` keeps the encoder, and with it every latent, UNet and LoRA made so far; then the latents get a little noise, so that the
decoder forgives what a sampler leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from data import LOOKS, PHOTOS, SIZE, load_images, taught
from nets import SCALE, build_vae, load_weights
from optim import build_optimizers
from runs import Average, Run, device, set_rate, trapezoid
from safetensors.torch import save_file

CROP = 64
"""Side of a training crop, px: as informative as a whole photo and a quarter of the work."""
LOOK_WEIGHTS = (8.0, 0.4, 0.4, 0.4, 0.4)
KL_WEIGHT = 1e-5
LATENT_NOISE = 0.01
"""Spread of the noise on scaled latents in decoder-only training (latents themselves have spread 1)."""


def gradients(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertical and horizontal differences of (B, C, H, W)."""
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def image_loss(made: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weighted sum and its plain L1 part, for images in [-1, 1]."""
    plain = (made - real).abs().mean()
    loss = plain + 1.5 * sum((a - b).abs().mean() for a, b in zip(gradients(made), gradients(real), strict=True))
    small = zip(gradients(F.avg_pool2d(made, 2)), gradients(F.avg_pool2d(real, 2)), strict=True)
    return loss + sum((a - b).abs().mean() for a, b in small), plain


class Crops:
    """Random crops of the taught people's photos, mirrored half of the time."""

    def __init__(self) -> None:
        self.images = load_images(taught()).flatten(0, 2)
        self.weights = torch.tensor(LOOK_WEIGHTS).repeat_interleave(len(PHOTOS)).repeat(len(taught()))
        if len(self.weights) != len(taught()) * len(LOOKS) * len(PHOTOS):
            raise ValueError("one weight per look is needed")

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(B, 3, CROP, CROP) in [-1, 1]; offsets are multiples of 8 px or not, as chance has it."""
        index = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        offsets = torch.randint(0, SIZE - CROP + 1, (count, 2), generator=generator).tolist()
        crops = [self.images[i, :, y : y + CROP, x : x + CROP] for i, (y, x) in zip(index.tolist(), offsets, strict=True)]
        mirrored = torch.rand(count, generator=generator) < 0.5
        return torch.stack([c.flip(-1) if m else c for c, m in zip(crops, mirrored.tolist(), strict=True)])


def train(args: argparse.Namespace) -> None:
    """Run until the time budget is spent; then write the averaged weights."""
    run, where = Run(args.out, args.name, args.minutes, args.seed), device()
    vae = build_vae()
    if args.start:
        load_weights(vae, args.start)
    vae.to(where)
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    optimizers = build_optimizers(vae, args.rate, ("conv_in", "conv_out", "quant_conv"))
    average = Average(vae, 0.998)
    if state := run.load():
        vae.load_state_dict(state["vae"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        average.state, average.steps = {k: v.to(where) for k, v in state["average"].items()}, run.step
    crops, smooth = Crops(), None

    def save() -> None:
        run.save(vae=vae.state_dict(), optimizers=[o.state_dict() for o in optimizers], average=average.state)

    while run.fraction() < 1:
        set_rate(optimizers, trapezoid(run.fraction(), run.step, 50, args.decay_from))
        generator = run.generator()
        real = crops.draw(args.batch, generator).to(where)
        with torch.set_grad_enabled(not args.decoder_only):
            posterior = vae.encode(real).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(where)
        spread = (posterior.std**2 + (LATENT_NOISE / SCALE) ** 2).sqrt() if args.decoder_only else posterior.std
        loss, plain = image_loss(vae.decode(posterior.mean + spread * noise, return_dict=False)[0], real)
        if not args.decoder_only:
            loss = loss + KL_WEIGHT * posterior.kl().mean() / (4 * (CROP // 8) ** 2)
        vae.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(vae)
        run.step += 1
        smooth = plain.item() if smooth is None else 0.98 * smooth + 0.02 * plain.item()
        if run.step % 25 == 0:
            run.report(step=run.step, seconds=round(run.elapsed()), l1=round(smooth, 4))
        if run.save_due():
            save()
    save()
    save_file({k: v.cpu().contiguous() for k, v in average.state.items()}, args.out / f"{args.name}.safetensors", {"format": "pt"})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="vae", help="name of state, log and weights in the folder")
    parser.add_argument("--start", type=Path, help="safetensors to begin with")
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--decay-from", type=float, default=0.4, help="share of the budget after which the rate falls")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
