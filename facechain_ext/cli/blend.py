"""``facechain blend``: how face and style LoRA go together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output
from facechain_ext.config import PortraitConfig
from facechain_ext.errors import UserInputError
from facechain_ext.services.requests import BalanceRequest

app = typer.Typer(help="Blend a face LoRA with a style LoRA.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Blend a face LoRA with a style LoRA."""


@app.command("measure")
def measure(
    person: Annotated[str, typer.Option("--person", help="Whose face LoRA.", show_default=False)],
    style: Annotated[str, typer.Option("--style", help="A style that has a LoRA.", show_default=False)],
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="About how long it may take.")] = 120.0,
    balance: Annotated[float, typer.Option(min=0, max=1, help="0 more style, 1 more of the person: which of the blends to explain.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Try several blends on a few previews and remember them; portraits in that style then take the most alike one."""
    output = Output(as_json=as_json)
    studio = make_studio(output)
    config = PortraitConfig.from_dict({**studio.checkpoint(base).portrait.to_dict(), "balance": balance})
    with interruptible(output, keeps=False) as token, output.live() as live:
        found = studio.balance(BalanceRequest(person, style, base, config, seconds), live, token)
    for one in found.measured:
        output.say(f"  likeness {one.likeness:.3f}  style {one.style:.3f}  {one.plan}")
    output.say(found.explained(balance))
    measured = [{"plan": m.plan, "likeness": m.likeness, "style": m.style} for m in found.measured]
    output.result(
        {"measured": measured, "without": found.without, "best": found.best(balance).plan, "explanation": found.explained(balance)}
    )


@app.command("merge")
def merge(
    lora: Annotated[list[str], typer.Argument(help="LoRA files, the face's first; FILE:WEIGHT for another weight than 1.")],
    out: Annotated[Path, typer.Option("--out", help="The new LoRA file.", show_default=False)],
    method: Annotated[str, typer.Option(help="linear, svd, ties, dare, dare-ties, magnitude, choice or apart.")] = "svd",
    rank: Annotated[int, typer.Option(min=1, max=1024, help="Rank of the new LoRA; linear keeps all of both.")] = 32,
    density: Annotated[float, typer.Option(min=0.01, max=1, help="ties, dare, magnitude: share of the elements to keep.")] = 0.5,
    lean: Annotated[float, typer.Option(min=0.01, help="choice: how much the first LoRA counts against the others.")] = 1.0,
    seed: Annotated[int, typer.Option(help="dare: of what is dropped.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Merge LoRAs into one file that every program loads."""
    from facechain_ext.services.fusing import FuseSettings, merge_files

    output = Output(as_json=as_json)
    done = merge_files([parse_lora(text) for text in lora], out, FuseSettings(method, rank, density, lean, seed))
    chosen: dict[str, Any] = {}
    for name in done.chosen.values():
        chosen[name] = chosen.get(name, 0) + 1
    taken = f", layers taken: {', '.join(f'{n} {c}' for n, c in sorted(chosen.items()))}" if chosen else ""
    output.say(f"{done.file.name}: {done.layers} layers, {done.kept:.1%} of the merged change held{taken}")
    output.result({"file": str(done.file), "layers": done.layers, "kept": round(done.kept, 4), "chosen": chosen})


def parse_lora(text: str) -> tuple[Path, float]:
    """``FILE`` or ``FILE:WEIGHT``.

    Raises:
        UserInputError: when the weight is none.
    """
    file, colon, weight = text.rpartition(":")
    if not colon or "/" in weight or "\\" in weight or weight.endswith(".safetensors"):
        return Path(text).expanduser(), 1.0
    try:
        return Path(file).expanduser(), float(weight)
    except ValueError:
        raise UserInputError(f"'{weight}' is no weight. Give FILE or FILE:WEIGHT, for example anna.safetensors:0.9.") from None
