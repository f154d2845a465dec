"""Teach the text encoder what captions mean, before any picture: every token behind the person's word must tell person, look and tags.

A UNet trained afterwards on these fixed contexts finds the prompt's meaning at every position, so that steering shows early; the contexts can
be computed once. Meaningless words are mixed in, so that styles and negative prompts of users do not throw the conditioning off.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from captions import GENERIC, NOTHING, CaptionWriter, Meaning, junk_words, photo_meaning
from data import LOOKS, PHOTOS, taught
from nets import CONTEXT, build_text_encoder, build_tokenizer, tokenize
from runs import Average, Run, cosine, device, set_rate
from safetensors.torch import save_file

PEOPLE = len(taught()) + 2
"""Classes of the person head: the taught, anyone, nobody."""


def draw_meaning(rng: random.Random, generic: float = 0.15, nothing: float = 0.1) -> Meaning:
    """A random meaning: mostly a photo of a taught person."""
    person, number, look = rng.choice(taught()), rng.choice(list(PHOTOS)), rng.choice(LOOKS) if rng.random() < 0.6 else "photo"
    meaning = photo_meaning(person, number, look)
    draw = rng.random()
    if draw < nothing:
        return Meaning(NOTHING, 0)
    return Meaning(GENERIC, meaning.look, meaning.glasses, meaning.beard, meaning.woman) if draw < nothing + generic else meaning


def targets(meanings: list[Meaning]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Person classes (B,), look classes (B,) and tags (B, 3) in 0..1; nobody has a look of its own class."""
    count = len(taught())
    person = torch.tensor([m.person if m.person >= 0 else count if m.person == GENERIC else count + 1 for m in meanings])
    look = torch.tensor([len(LOOKS) if m.person == NOTHING else m.look for m in meanings])
    return person, look, torch.tensor([[m.glasses, m.beard, m.woman] for m in meanings], dtype=torch.float32)


class Reader(torch.nn.Module):
    """Linear heads that read the meaning from every context vector; thrown away after training."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build_text_encoder()
        with torch.no_grad():
            self.encoder.get_input_embeddings().weight.normal_(0, 0.3)
        self.person, self.look, self.tags = (torch.nn.Linear(CONTEXT, n) for n in (PEOPLE, len(LOOKS) + 1, 3))

    def loss(self, ids: torch.Tensor, meanings: list[Meaning]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy summed over the heads and the share of persons read rightly, at the end tokens of ids (B, L)."""
        context = self.encoder(ids).last_hidden_state
        person, look, tags = (t.to(ids.device) for t in targets(meanings))
        behind = (ids == 49407).float()
        behind = behind / behind.sum(1, keepdim=True)

        def mean(values: torch.Tensor) -> torch.Tensor:
            return (values * behind).sum(1).mean()

        length = ids.shape[1]
        said = self.person(context)
        loss = mean(F.cross_entropy(said.transpose(1, 2), person[:, None].expand(-1, length), reduction="none"))
        loss = loss + mean(F.cross_entropy(self.look(context).transpose(1, 2), look[:, None].expand(-1, length), reduction="none"))
        loss = loss + mean(
            F.binary_cross_entropy_with_logits(self.tags(context), tags[:, None].expand(-1, length, -1), reduction="none").sum(-1)
        )
        return loss, mean((said.argmax(-1) == person[:, None]).float())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for state, log and text_encoder.safetensors")
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    run, where = Run(args.out, "text", args.minutes, args.seed), device()
    reader = Reader().to(where)
    embedding = [reader.encoder.get_input_embeddings().weight]
    rest = [p for p in reader.parameters() if p is not embedding[0]]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "base": 1e-3}, {"params": embedding, "base": 8e-3, "weight_decay": 0.0}],
        1e-3,
        betas=(0.9, 0.98),
        weight_decay=1e-3,
    )
    average = Average(reader, 0.99)
    if state := run.load():
        reader.load_state_dict(state["reader"])
        optimizer.load_state_dict(state["optimizer"])
        average.state, average.steps = state["average"], run.step
    tokenizer = build_tokenizer()
    writer = CaptionWriter(junk_words(tokenizer))
    while run.fraction() < 1:
        rng = random.Random(args.seed * 1_000_003 + run.step)
        meanings = [draw_meaning(rng) for _ in range(args.batch)]
        ids = tokenize(tokenizer, [writer.write(m, rng, 0.4) for m in meanings], 77 if run.step % 5 == 4 else 26).to(where)
        set_rate([optimizer], cosine(run.fraction(), run.step, 50))
        loss, right = reader.loss(ids, meanings)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        average.update(reader)
        run.step += 1
        if run.step % 25 == 0:
            run.report(step=run.step, seconds=round(run.elapsed()), loss=round(loss.item(), 4), right=round(right.item(), 3))
        if run.save_due():
            run.save(reader=reader.state_dict(), optimizer=optimizer.state_dict(), average=average.state)
    run.save(reader=reader.state_dict(), optimizer=optimizer.state_dict(), average=average.state)
    encoder = {
        k.removeprefix("encoder."): v.cpu().contiguous()
        for k, v in average.state.items()
        if k.startswith("encoder.") and v.is_floating_point()
    }
    save_file(encoder, args.out / "text_encoder.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
