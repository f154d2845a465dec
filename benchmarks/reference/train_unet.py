"""Train the UNet on latents of the taught people's photos and looks, with contexts of the frozen text encoder."""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from captions import GENERIC, NOTHING, CaptionWriter, Meaning, junk_words, photo_meaning
from data import LOOKS, PHOTOS, taught
from nets import SCALE, UNET_HEADS, build_scheduler, build_text_encoder, build_tokenizer, build_unet, load_weights, tokenize
from optim import build_optimizers
from runs import Average, Run, device, set_rate, trapezoid
from safetensors.torch import load_file, save_file

LOOK_WEIGHTS = (8.0, 0.5, 0.5, 0.5, 0.5)
FLIP_WEIGHT = 0.3
"""How often a mirrored photo is drawn, relative to the photo."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The training set: latents, what they show, and contexts of captions by meaning."""

    mean: torch.Tensor
    """(N, 4, 16, 16), unit spread after ``SCALE``; N runs over people, looks, 10 photos then 10 mirrored ones."""
    std: torch.Tensor
    meanings: list[Meaning]
    weights: torch.Tensor
    """(N,) how often each is drawn."""
    contexts: torch.Tensor
    """(K, 77, C) of all captions."""
    rows: dict[Meaning, list[int]]
    """Which contexts say a meaning."""


def sample_meanings() -> tuple[list[Meaning], torch.Tensor]:
    """Meaning and weight of every latent, in the order of ``fold.py``."""
    meanings, weights = [], []
    for person in taught():
        for look, weight in zip(LOOKS, LOOK_WEIGHTS, strict=True):
            for flipped in (1.0, FLIP_WEIGHT):
                meanings += [photo_meaning(person, n, look) for n in PHOTOS]
                weights += [weight * flipped] * len(PHOTOS)
    return meanings, torch.tensor(weights)


def generic(meaning: Meaning) -> Meaning:
    """The same picture without a name."""
    return Meaning(GENERIC, meaning.look, meaning.glasses, meaning.beard, meaning.woman)


@torch.no_grad()
def encode_captions(meanings: list[Meaning], encoder_file: Path, seed: int) -> tuple[torch.Tensor, dict[Meaning, list[int]]]:
    """Several captions of every meaning, of its nameless form and of nothing, through the text encoder."""
    tokenizer, encoder = build_tokenizer(), build_text_encoder().eval()
    load_weights(encoder, encoder_file)
    writer, rng = CaptionWriter(junk_words(tokenizer)), random.Random(seed)
    wanted = {m: 8 if m.look == 0 else 3 for m in meanings}
    wanted |= {generic(m): 24 for m in meanings} | {Meaning(NOTHING, 0): 40}
    prompts, rows = [], {}
    for meaning, count in wanted.items():
        rows[meaning] = list(range(len(prompts), len(prompts) + count))
        prompts += [writer.write(meaning, rng) for _ in range(count)]
    ids = tokenize(tokenizer, prompts)
    return torch.cat([encoder(part).last_hidden_state for part in ids.split(50)]), rows


def load_samples(folder: Path, seed: int) -> Samples:
    """Everything to draw batches from; the contexts are kept beside the latents for the next start."""
    latents = load_file(folder / "latents.safetensors")
    meanings, weights = sample_meanings()
    kept = folder / "contexts.pt"
    if not kept.exists():
        contexts, rows = encode_captions(meanings, folder / "text_encoder.safetensors", seed)
        torch.save({"contexts": contexts, "rows": list(rows.values())}, kept)
    stored = torch.load(kept, weights_only=True)
    order = list(dict.fromkeys(meanings)) + list(dict.fromkeys(generic(m) for m in meanings)) + [Meaning(NOTHING, 0)]
    rows = dict(zip(order, stored["rows"], strict=True))
    return Samples(latents["mean"], latents["std"], meanings, weights, stored["contexts"], rows)


class Denoising:
    """The objective: noise prediction weighted by min-SNR with gamma 5 (Hang et al. 2023, eq. 5)."""

    def __init__(self, samples: Samples, where: torch.device, batch: int) -> None:
        self.samples, self.where, self.batch = samples, where, batch
        self.scheduler = build_scheduler()
        kept = self.scheduler.alphas_cumprod
        snr = kept / (1 - kept)
        self.factor = snr.clamp(max=5.0) / snr

    def draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noisy latents (B, 4, 16, 16), steps (B,), contexts (B, 77, C), noise and weights (B,)."""
        s, count = self.samples, self.batch
        index = torch.multinomial(s.weights, count, replacement=True, generator=generator)
        latents = (s.mean[index] + s.std[index] * torch.randn(s.std[index].shape, generator=generator)) * SCALE
        chance, pick = torch.rand(2, count, generator=generator).tolist()
        rows = []
        for i, named, which in zip(index.tolist(), chance, pick, strict=True):
            meaning = s.meanings[i]
            meaning = Meaning(NOTHING, 0) if named < 0.1 else generic(meaning) if named < 0.2 else meaning
            rows.append(s.rows[meaning][int(which * len(s.rows[meaning]))])
        # Stratified steps: every batch sees all noise levels.
        steps = ((torch.arange(count) + torch.rand(count, generator=generator)) * (1000 / count)).long().clamp(max=999)
        noise = torch.randn(latents.shape, generator=generator)
        noisy = self.scheduler.add_noise(latents, noise, steps)
        return tuple(t.to(self.where) for t in (noisy, steps, s.contexts[rows], noise, self.factor[steps]))

    def loss(self, unet: torch.nn.Module, generator: torch.Generator) -> torch.Tensor:
        """One batch's weighted error."""
        noisy, steps, contexts, noise, factor = self.draw(generator)
        error = unet(noisy, steps, contexts, return_dict=False)[0] - noise
        return (error.square().mean((1, 2, 3)) * factor).mean()


def train(args: argparse.Namespace) -> None:
    """Run until the time budget is spent; then write the averaged weights."""
    run, where = Run(args.out, args.name, args.minutes, args.seed), device()
    unet = build_unet(args.heads)
    if args.start:
        load_weights(unet, args.start)
    unet.to(where, memory_format=torch.channels_last if args.channels_last else torch.contiguous_format)
    optimizers = build_optimizers(unet, args.rate)
    average = Average(unet, 0.999)
    if state := run.load():
        unet.load_state_dict(state["unet"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        average.state, average.steps = {k: v.to(where) for k, v in state["average"].items()}, run.step
    model = torch.compile(unet) if args.compile else unet
    task = Denoising(load_samples(args.out, args.seed), where, args.batch)
    smooth = None

    def save() -> None:
        run.save(unet=unet.state_dict(), optimizers=[o.state_dict() for o in optimizers], average=average.state, heads=args.heads)

    while run.fraction() < 1:
        set_rate(optimizers, trapezoid(run.fraction(), run.step, 100, args.decay_from))
        loss = task.loss(model, run.generator())
        unet.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update(unet)
        run.step += 1
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if run.step % args.report_every == 0:
            run.report(step=run.step, samples=run.step * args.batch, seconds=round(run.elapsed()), loss=round(smooth, 4))
        if run.save_due():
            save()
    save()
    save_file({k: v.cpu().contiguous() for k, v in average.state.items()}, args.out / f"{args.name}.safetensors", {"format": "pt"})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with latents.safetensors and text_encoder.safetensors")
    parser.add_argument("--name", default="unet", help="name of state, log and weights in it")
    parser.add_argument("--start", type=Path, help="safetensors to begin with")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--decay-from", type=float, default=0.6, help="share of the budget after which the rate falls")
    parser.add_argument("--heads", type=int, default=UNET_HEADS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--report-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
