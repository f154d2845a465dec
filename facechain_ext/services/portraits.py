"""Use case: generate portraits of a person, score them, put the best first, write report and contact sheet."""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facechain_ext.blend import Region
from facechain_ext.config import SEED_MAX, PortraitConfig
from facechain_ext.errors import FaceChainError, UserInputError, WeightsMissing
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight, RegionPrompt, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.balance import Pair, plan_for, plan_of, remembered, weights_of
from facechain_ext.services.candidates import Room, Sitter, statistic_of
from facechain_ext.services.composing import told
from facechain_ext.services.people import dataset_of, read_card
from facechain_ext.services.portrait_files import SCHEMA, write_portraits
from facechain_ext.services.requests import PortraitRequest, RankedPortraits
from facechain_ext.services.tags import tagged, without_tags
from facechain_ext.services.tries import drawn
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.styles.prompts import PLAIN
from facechain_ext.workspace import PersonFolder, Workspace, read_json

MOST_PEOPLE = 3
OVERLAP = 0.125
"""How much of a person's part of the picture it shares with the next one's: there one goes over into the other."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What requests can name."""

    styles: Sequence[Style]
    loras: Mapping[str, Path]
    """LoRA files by their stem, for tags."""


def make_portraits(
    request: PortraitRequest,
    workspace: Workspace,
    host: ImageGenerator,
    analyzer: FaceAnalyzer,
    stock: Stock,
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> RankedPortraits:
    """Generate, rank and write; files appear only when all are made.

    Raises:
        UserInputError: for an unknown person or style, a person without LoRA, or a tag that cannot be followed.
        Cancelled: nothing was written.
    """
    style = find_style(stock.styles, request.style).on(host.checkpoint.name) if request.style else None
    bare = without_tags(request)
    sitters = sitters_of(bare, workspace, host, analyzer, style)
    sampling = sampling_of(bare, sitters, host, style)
    sampling = replace(sampling, loras=tagged(request, stock.loras, sampling.loras), made=request.made or host.made)
    sitters = [replace(sitter, loras=tagged(request, stock.loras, sitter.loras)) for sitter in sitters]
    statistic = statistic_of(style, style.lora_file if style is not None and style.acts_on(host.checkpoint.name) else None)
    on_progress(Progress(Stage.LOAD, message="Loading the checkpoint"))
    room = Room(host, analyzer, request.config, sitters, statistic, on_progress, cancel)
    # What is made again is made as it was, whatever its score.
    tries = request.config.tries if len(sitters) > 1 and request.with_lora and not request.seeds else 1
    candidates, others = drawn(room, sampling, tries)
    return write_portraits(candidates, others, _target(request, sitters[0].folder), request, sitters, host, style)


def sitters_of(
    request: PortraitRequest, workspace: Workspace, host: ImageGenerator, analyzer: FaceAnalyzer, style: Style | None
) -> list[Sitter]:
    """Everyone who should be in the picture, from left to right.

    Raises:
        UserInputError: for an unknown person, one without LoRA, one named twice, or too many of them.
    """
    folders = [workspace.existing_person(name) for name in (request.person, *request.beside)]
    check_together([f.name for f in folders])
    found = [Sitter(f, dataset_of(f, analyzer), "", _loras(request, f, host, style) if request.with_lora else ()) for f in folders]
    return worded(found, request, style)


def check_together(names: Sequence[str]) -> None:
    """Refuse people who cannot be in one picture.

    Raises:
        UserInputError: for one named twice, or too many of them.
    """
    if len({*names}) < len(names):
        raise UserInputError("The same person is named twice. Name each of them once, from left to right.")
    if len(names) > MOST_PEOPLE:
        raise UserInputError(f"At most {MOST_PEOPLE} people fit into one picture, not {len(names)}.")


def own_words(prompt: str, people: int) -> list[str]:
    """The user's words for each of ``people``: divided by ``|`` where there are as many parts, else the same for all."""
    # Within square brackets it divides words that take turns over the steps.
    parts = [part.strip() for part in re.split(r"\|(?![^\[]*\])", prompt)]
    return parts if len(parts) == people else [prompt] * people


def worded(sitters: Sequence[Sitter], request: PortraitRequest, style: Style | None) -> list[Sitter]:
    """``sitters`` with each one's prompt as the words of ``request`` make it."""
    owns = own_words(request.prompt, len(sitters))
    return [replace(s, prompt=told(style, s.dataset.caption, replace(request, prompt=own)).used) for s, own in zip(sitters, owns, strict=True)]


def shared_words(prompt: str, people: int) -> str:
    """The user's words for the whole picture of ``people``: those of each, one after another."""
    return ", ".join(dict.fromkeys(own_words(prompt, people)))


def sampling_of(request: PortraitRequest, sitters: Sequence[Sitter], host: ImageGenerator, style: Style | None) -> SamplingRequest:
    """What to sample for ``request``: prompts, seeds, and which LoRA acts where."""
    config, many = request.config, len(sitters)
    together = " and ".join(s.dataset.caption for s in sitters)
    prompt = told(style, together, replace(request, prompt=shared_words(request.prompt, many)))
    seeds, region_seeds = _seeds(request, many)
    side = host.checkpoint.resolution
    loras, regions = _loras(request, sitters[0].folder, host, style), ()
    if many > 1 and config.people_by == "regions":
        pairs = list(zip(sitters, columns(many), strict=True))
        loras = tuple(replace(lora, region=box) for sitter, box in pairs for lora in sitter.loras)
        regions = tuple(RegionPrompt(sitter.prompt, box) for sitter, box in pairs)
    elif many > 1:
        loras = _loras(replace(request, with_lora=False), sitters[0].folder, host, style)
    return SamplingRequest(
        prompt.used,
        prompt.used_negative,
        seeds,
        config.width or round(side * (many - (many - 1) * OVERLAP) / 8) * 8,
        config.height or side,
        config.steps,
        config.cfg,
        config.sampler,
        loras,
        regions,
        apart=bool(regions),
        region_seeds=region_seeds if regions else (),
    )


def _seeds(request: PortraitRequest, people: int) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The seed of each picture, and of each person's part of it where these were told.

    Raises:
        UserInputError: when they were told for another number of people.
    """
    config = request.config
    if not request.seeds:
        first = config.seed if config.seed is not None else secrets.randbelow(SEED_MAX - config.count)
        return tuple((first + i) % (SEED_MAX + 1) for i in range(config.count)), ()
    wanted = (people,) if people > 1 and config.people_by == "regions" else (1,)
    if {len(own) for own in request.seeds} != {*wanted}:
        raise UserInputError(f"The seeds of the pictures are not for {people} {'people' if people > 1 else 'person'}.")
    return tuple(own[0] for own in request.seeds), request.seeds


def columns(many: int) -> list[Region]:
    """``many`` equal columns of a picture, from left to right, neighbours going over into each other within ``OVERLAP``."""
    feather = OVERLAP / (many - (many - 1) * OVERLAP)
    return [Region((i / many, 0.0, (i + 1) / many, 1.0), feather=feather) for i in range(many)]


def _loras(request: PortraitRequest, folder: PersonFolder, host: ImageGenerator, style: Style | None) -> tuple[LoraWeight, ...]:
    config = request.config
    if not request.with_lora:
        weight = _style_weight(config, style, host)
        return (LoraWeight(style_lora(style), weight, weight),) if style is not None and weight is not None else ()
    return loras_of(folder, host, style, config, request.loras)


def loras_of(
    folder: PersonFolder, host: ImageGenerator, style: Style | None, config: PortraitConfig, named: Sequence[str] = ()
) -> tuple[LoraWeight, ...]:
    """The person's LoRA and the style's where it has one, as ``config`` says they act together: face first.

    Raises:
        UserInputError: for somebody without a LoRA.
        WeightsMissing: when the style's is not there.
    """
    weight = _style_weight(config, style, host)
    if style is None or weight is None:
        return weights_of(plan_for(config, None, None), face_lora(folder, named), None)
    pair = pair_of(folder, style, host)
    known = remembered(pair) if not config.blend else None
    return weights_of(plan_of(style, config, weight, known), face_lora(folder, named), pair.style_file)


def _style_weight(config: PortraitConfig, style: Style | None, host: ImageGenerator) -> float | None:
    """None where the style brings no LoRA for the checkpoint."""
    if style is None or not style.acts_on(host.checkpoint.name):
        return None
    return style.weight if config.style_weight is None else config.style_weight


def pair_of(folder: PersonFolder, style: Style, host: ImageGenerator) -> Pair:
    """The person's newest LoRA and the style's on the host's checkpoint.

    Raises:
        UserInputError: when there is nothing to balance.
        WeightsMissing: when the style's LoRA is not there.
    """
    if not style.acts_on(host.checkpoint.name):
        raise UserInputError(f"The style '{style.id}' has no LoRA for {host.checkpoint.name}: there is nothing to balance.")
    return Pair(folder, face_lora(folder), style, style_lora(style), host)


def face_lora(folder: PersonFolder, named: Sequence[str] = ()) -> Path:
    """The person's face LoRA that is ``named``, else the newest.

    Raises:
        UserInputError: when there is none.
    """
    entries = read_card(folder)["loras"]
    files = [folder.loras / f"{e['name']}.safetensors" for e in entries]
    if not files:
        raise UserInputError(f"'{folder.name}' has no face LoRA yet. Train one first.")
    chosen = next((file for file in reversed(files) if file.stem in named and file.exists()), None)
    if chosen is not None:
        return chosen
    if not files[-1].exists():
        raise UserInputError(f"The face LoRA {files[-1].name} of '{folder.name}' is gone. Train again.")
    return files[-1]


def style_lora(style: Style) -> Path:
    """The LoRA file of a style that has one.

    Raises:
        WeightsMissing: when it is not there, with the place it belongs.
    """
    file = style.lora_file
    if file is None or not file.exists():
        raise WeightsMissing(f"The style '{style.id}' needs the LoRA {style.lora}.safetensors. Put it into {style.folder}.")
    return file


def style_pictures(folder: PersonFolder) -> dict[str, Path]:
    """The best portrait of the latest run in each style, by the style's id; runs whose report cannot be read are left out."""
    found: dict[str, Path] = {}
    for report in sorted(folder.portraits.glob("*/report.json"), reverse=True):
        try:
            said = read_json(report, SCHEMA)
            best = report.parent / Path(str(said["images"][0]["file"])).name
        except (FaceChainError, LookupError, TypeError):
            continue
        if best.is_file():
            found.setdefault(str(said.get("style") or PLAIN.id), best)
    return found


def _target(request: PortraitRequest, folder: PersonFolder) -> Path:
    if request.out is not None:
        return request.out.expanduser().resolve()
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    return folder.portraits / f"{stamp}-{secrets.token_hex(2)}"
