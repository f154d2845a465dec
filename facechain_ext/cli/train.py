"""``facechain train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output, duration
from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.services.requests import TrainRequest, TrainResult


def train(
    person: Annotated[str, typer.Option("--person", help="Whose prepared photos to train on.", show_default=False)],
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    rank: Annotated[int | None, typer.Option(help="LoRA rank; alpha follows it unless the config file sets it.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Training resolution, px.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    batch: Annotated[int | None, typer.Option(help="Photos per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share every step, one for each GPU; each has its own batch.")] = None,
    memory: Annotated[str | None, typer.Option(help="Fit the settings to memory: auto, 6 GB, 8 GB, 12 GB or 24 GB.")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with any training settings; options given here win.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that also gets the LoRA file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the person's unfinished training.")] = False,
    continue_from: Annotated[
        str | None, typer.Option(help="A finished LoRA of the person (see 'people show') that learns on; its kind, rank and alpha are kept.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a face LoRA. Ctrl-C stops after the current step and keeps what was learned."""
    output = Output(as_json=as_json)
    studio = make_studio(output)
    values = studio.checkpoint(base).train.to_dict()
    from_file = read_config(config) if config else {}
    values |= from_file
    given = {"steps": steps, "rank": rank, "resolution": resolution, "seed": seed, "batch": batch, "processes": processes}
    given |= {"learning_rate": learning_rate, "memory": _gigabytes(memory)}
    values |= {k: v for k, v in given.items() if v is not None}
    if rank is not None and "alpha" not in from_file:
        values["alpha"] = float(rank)
    settings = TrainConfig.from_dict(values)
    if continue_from is not None:
        if resume:
            raise UserInputError("--resume goes on with an unfinished training, --continue-from with a finished LoRA. Use one of them.")
        own = studio.continued(person, continue_from, settings)
        # What the checkpoint suggests gives way to the LoRA; what was asked for is refused below when it is another.
        asked = {name: from_file[name] for name in ("kind", "rank", "alpha") if name in from_file} | ({"rank": rank} if rank is not None else {})
        settings = TrainConfig.from_dict({**own.to_dict(), **asked})
    request = TrainRequest(person, base, settings, resume, continue_from, out)
    with interruptible(output, keeps=True) as token, output.live() as live:
        result = studio.train(request, live, token)
    show(output, result)
    output.result(report(result))


def _gigabytes(memory: str | None) -> str | None:
    """``8`` and ``8GB`` -> ``8 GB``; the rest as it is."""
    digits = (memory or "").upper().removesuffix("GB").strip()
    return f"{digits} GB" if digits.isdigit() else memory


def read_config(file: Path) -> dict[str, Any]:
    """Settings from a JSON file.

    Raises:
        UserInputError: when it cannot be read as a JSON object.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserInputError(f"The settings file {file.name} cannot be read as JSON ({type(error).__name__}).") from None
    if not isinstance(values, dict):
        raise UserInputError(f'The settings file {file.name} must hold one JSON object, such as {{"steps": 400}}.')
    return values


def show(output: Output, result: TrainResult) -> None:
    """The result, and what was not as planned."""
    said = "Stopped early; kept" if result.stopped_early else "Trained"
    likeness = f"likeness {result.likeness:.2f}" if result.likeness is not None else "no preview held a face"
    output.say(f"{said} {result.steps} steps in {duration(result.seconds)}: loss {result.loss:.4f}, {likeness}.")
    for sentence in (*result.notes, *([result.reason] if result.reason else [])):
        output.say(sentence)
    output.say(f"LoRA: {result.lora}")


def report(result: TrainResult) -> dict[str, object]:
    """The command's JSON."""
    return {
        "person": result.person,
        "lora": str(result.lora),
        "steps": result.steps,
        "seconds": round(result.seconds, 2),
        "loss": result.loss,
        "likeness": result.likeness,
        "stopped_early": result.stopped_early,
        "kept": result.kept,
        "reason": result.reason,
        "notes": list(result.notes),
        "card": str(result.card) if result.card else None,
    }
