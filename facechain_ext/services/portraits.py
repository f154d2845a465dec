"""Use case: generate portraits of a person, score them, put the best first, write report and contact sheet."""

from __future__ import annotations

import contextlib
import datetime
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.config import SEED_MAX, PortraitConfig
from facechain_ext.errors import FaceChainError, UserInputError, WeightsMissing
from facechain_ext.faces.types import Dataset, Image
from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.infotext import infotext, save_png
from facechain_ext.portraits.rank import Score, is_flagged, order, score
from facechain_ext.portraits.sheet import Labelled, contact_sheet
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.composing import told
from facechain_ext.services.people import note_outside, read_card
from facechain_ext.services.requests import Portrait, PortraitRequest, RankedPortraits
from facechain_ext.services.train_person import dataset_of
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.styles.prompts import PLAIN
from facechain_ext.workspace import PersonFolder, Workspace, added_files, read_json, write_json

SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    image: Image
    seed: int
    score: Score
    request: SamplingRequest
    index: int


def make_portraits(
    request: PortraitRequest,
    workspace: Workspace,
    host: ImageGenerator,
    analyzer: FaceAnalyzer,
    styles: Sequence[Style],
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> RankedPortraits:
    """Generate, rank and write; files appear only when all are made.

    Raises:
        UserInputError: for an unknown person or style, or a person without LoRA.
        Cancelled: nothing was written.
    """
    folder = workspace.existing_person(request.person)
    dataset = dataset_of(folder, analyzer)
    style = find_style(styles, request.style) if request.style else None
    sampling = _sampling(request, folder, dataset, host, style)
    on_progress(Progress(Stage.LOAD, message="Loading the checkpoint"))
    candidates = _generate(sampling, request.config, host, analyzer, dataset, on_progress, cancel)
    target = _target(request, folder)
    return _write(candidates, target, request, folder, host, style, outside=request.out is not None)


def _sampling(
    request: PortraitRequest, folder: PersonFolder, dataset: Dataset, host: ImageGenerator, style: Style | None
) -> SamplingRequest:
    config = request.config
    prompt = told(style, dataset.caption, request)
    loras = []
    if request.with_lora:
        loras.append(LoraWeight(face_lora(folder), config.face_weight, config.face_weight))
    if style is not None and style.acts_on(host.checkpoint.name):
        weight = style.weight if config.style_weight is None else config.style_weight
        loras.append(LoraWeight(style_lora(style), weight, weight))
    first = config.seed if config.seed is not None else secrets.randbelow(SEED_MAX - config.count)
    side = host.checkpoint.resolution
    return SamplingRequest(
        prompt.used,
        prompt.used_negative,
        tuple((first + i) % (SEED_MAX + 1) for i in range(config.count)),
        config.width or side,
        config.height or side,
        config.steps,
        config.cfg,
        config.sampler,
        tuple(loras),
    )


def face_lora(folder: PersonFolder) -> Path:
    """The person's newest face LoRA.

    Raises:
        UserInputError: when there is none.
    """
    entries = read_card(folder)["loras"]
    files = [folder.loras / f"{e['name']}.safetensors" for e in entries]
    if not files:
        raise UserInputError(f"'{folder.name}' has no face LoRA yet. Train one first.")
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


def _generate(
    whole: SamplingRequest,
    config: PortraitConfig,
    host: ImageGenerator,
    analyzer: FaceAnalyzer,
    dataset: Dataset,
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> list[_Candidate]:
    candidates: list[_Candidate] = []
    for start in range(0, len(whole.seeds), config.batch):
        seeds = whole.seeds[start : start + config.batch]
        part = SamplingRequest(
            whole.prompt, whole.negative, seeds, whole.width, whole.height, whole.steps, whole.cfg, whole.sampler, whole.loras
        )

        def on_step(event: Progress, done: int = start, size: int = len(seeds)) -> None:
            if event.stage is not Stage.GENERATE:
                # The host waits for its turn.
                on_progress(event)
                return
            step = done * whole.steps + event.step * size
            on_progress(Progress(Stage.GENERATE, step, len(whole.seeds) * whole.steps, f"Portrait {done + 1} of {len(whole.seeds)}"))

        # Closing the generator takes the LoRAs out again, also when scoring fails half way.
        with contextlib.closing(host.generate(part, on_step, cancel)) as images:
            for i, image in enumerate(images):
                found = score(image, analyzer, dataset.mean_embedding)
                candidates.append(_Candidate(image, seeds[i], found, part, i))
                on_progress(Progress(Stage.RANK, len(candidates), len(whole.seeds), "Measuring likeness", likeness=found.likeness))
    return candidates


def _target(request: PortraitRequest, folder: PersonFolder) -> Path:
    if request.out is not None:
        return request.out.expanduser().resolve()
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
    return folder.portraits / f"{stamp}-{secrets.token_hex(2)}"


def _write(
    candidates: list[_Candidate],
    target: Path,
    request: PortraitRequest,
    folder: PersonFolder,
    host: ImageGenerator,
    style: Style | None,
    *,
    outside: bool,
) -> RankedPortraits:
    config = request.config
    # The panel composes its prompts; one that the user wrote goes into the infotext as it is, with tags for its LoRAs.
    exact = request.exact_prompt is not None or request.exact_negative is not None
    settings = _panel_settings(request, folder.name, style, host) if request.with_lora and not exact else {}
    portraits = []
    shown = []
    for rank, index in enumerate(order([c.score for c in candidates], config.min_likeness), start=1):
        found = candidates[index]
        likeness = found.score.likeness
        flagged = is_flagged(found.score, config.min_likeness)
        said = "" if likeness is None else f"{likeness:.3f}"
        extra = {**settings, keys.LIKENESS: said or "no face", "FaceChain rank": f"{rank} of {len(candidates)}"}
        text = infotext(found.request, found.index, host.checkpoint, extra)
        file = target / f"{rank:02d}-{found.seed}.png"
        portraits.append(Portrait(file, found.seed, likeness, found.score.faces, rank, text, flagged))
        shown.append(Labelled(found.image, f"likeness {said}" if said else "no face", f"seed {found.seed}", flagged))
    sheet, report = target / "sheet.png", target / "report.json"
    picture = contact_sheet(folder.name, shown, subtitle=candidates[0].request.prompt)
    with added_files(target, "the portraits") as fresh:
        for portrait, tile in zip(portraits, shown, strict=True):
            save_png(tile.image, fresh / portrait.file.name, portrait.infotext)
        picture.save(fresh / sheet.name, "PNG")
        write_json(fresh / report.name, _report(folder.name, portraits, candidates[0].request, host, style), "the report")
    if outside:
        for file in [p.file for p in portraits] + [sheet, report]:
            note_outside(folder, file)
    return RankedPortraits(folder.name, target, sheet, report, tuple(portraits))


def _panel_settings(request: PortraitRequest, person: str, style: Style | None, host: ImageGenerator) -> dict[str, str]:
    """What the panel in the WebUI needs to make this portrait again."""
    config = request.config
    acts = style is not None and style.acts_on(host.checkpoint.name)
    weight = (style.weight if config.style_weight is None else config.style_weight) if style is not None and acts else None
    own = {keys.OWN_PROMPT: request.prompt, keys.OWN_NEGATIVE: request.negative}
    return {
        keys.PERSON: person,
        keys.STYLE: style.id if style else PLAIN.id,
        keys.FACE_WEIGHT: f"{config.face_weight:g}",
        **({keys.STYLE_WEIGHT: f"{weight:g}"} if weight is not None else {}),
        **{key: text for key, text in own.items() if text.strip()},
    }


def _report(
    person: str, portraits: list[Portrait], request: SamplingRequest, host: ImageGenerator, style: Style | None
) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "person": person,
        "checkpoint": host.checkpoint.name,
        "checkpoint_sha256": host.checkpoint.sha256,
        "style": style.id if style else None,
        "prompt": request.prompt,
        "negative": request.negative,
        "loras": [{"name": w.file.stem, "unet": w.unet, "text": w.text} for w in request.loras],
        "steps": request.steps,
        "cfg": request.cfg,
        "sampler": request.sampler,
        "size": [request.width, request.height],
        "images": [
            {"file": p.file.name, "seed": p.seed, "likeness": p.likeness, "faces": p.faces, "rank": p.rank, "flagged": p.flagged}
            for p in portraits
        ],
    }
