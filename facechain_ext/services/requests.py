"""What the use cases take and give back; no torch, so that pages and the API can be built without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
from facechain_ext.ports import MadeWith
from facechain_ext.progress import LossPoint
from facechain_ext.styles.catalog import Style


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """Photos (files or folders) to turn into ``person``'s dataset."""

    person: str
    sources: tuple[Path, ...] = ()
    """Empty: the photos kept of the person."""
    config: PrepareConfig = field(default_factory=PrepareConfig)
    chosen: Mapping[str, int | None] = field(default_factory=dict)
    """A photo's file name -> the face that is the person's, from 0, whatever the rules say; None leaves the photo out."""


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """A face LoRA to train from ``person``'s dataset."""

    person: str
    checkpoint: str | None = None
    """A name from ``Studio.checkpoints()`` or a path; None takes the host's default."""
    config: TrainConfig = field(default_factory=TrainConfig)
    resume: bool = False
    """Go on from the last saved state of the same settings."""
    continue_from: str | None = None
    """Name of one of the person's LoRAs that goes on learning, with its own rank and alpha; the result is another LoRA."""
    out: Path | None = None
    """A folder that gets a copy of the LoRA."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished face LoRA."""

    person: str
    lora: Path
    steps: int
    """Optimizer steps done."""
    seconds: float
    loss: float
    """Mean of the last steps."""
    likeness: float | None
    """Mean likeness of the portraits of the LoRA that was kept, None when none held a face."""
    stopped_early: bool
    """On request."""
    curve: tuple[LossPoint, ...]
    previews: tuple[Path, ...]
    kept: str = "the last step"
    """Which of the training's LoRAs this is."""
    reason: str = ""
    """Why that one, where there were several."""
    notes: tuple[str, ...] = ()
    """Sentences about what was not as planned: memory that ran out, a loss that ran away, an early end."""
    card: Path | None = None
    """A picture that sums it up."""


@dataclass(frozen=True, slots=True)
class PortraitRequest:
    """Portraits of ``person`` to generate and rank."""

    person: str
    """Whose; with others ``beside``, the one at the left."""
    checkpoint: str | None = None
    style: str | None = None
    """A style's id; None is a plain portrait."""
    prompt: str = ""
    """The user's own words, added to style and person."""
    negative: str = ""
    config: PortraitConfig = field(default_factory=PortraitConfig)
    with_lora: bool = True
    """False leaves the face LoRA out: what the checkpoint does on its own."""
    out: Path | None = None
    exact_prompt: str | None = None
    """The whole prompt as the user edited it, in place of the composed one."""
    exact_negative: str | None = None
    beside: tuple[str, ...] = ()
    """Who else is in the picture, from left to right. ``prompt`` may then hold words for each of them, divided by ``|``."""
    made: MadeWith | None = None
    """Settings of the WebUI that a picture was made with; None takes the host's own."""
    loras: tuple[str, ...] = ()
    """Names of face LoRAs to use where a person has one of them; else the newest."""
    seeds: tuple[tuple[int, ...], ...] = ()
    """Exactly these pictures, each drawn once, in place of those that the settings say: one seed, or with several people one for each."""
    only_index: int | None = None
    """Of what is generated only this picture is wanted; the others are its batch, made with it for the sake of its last bits."""


@dataclass(frozen=True, slots=True)
class BalanceRequest:
    """How ``person`` and ``style`` go together, to be measured."""

    person: str
    style: str
    checkpoint: str | None = None
    config: PortraitConfig = field(default_factory=PortraitConfig)
    """Weights, steps and size of the previews."""
    seconds: float = 120.0
    """About how long it may take."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """One generated portrait."""

    file: Path
    seed: int
    likeness: float | None
    """Cosine similarity to the person's mean embedding, -1..1; None without a face."""
    faces: int
    rank: int
    """1 is best."""
    infotext: str
    flagged: bool = False
    """True when something is wrong with it: not one face, likeness below the wanted minimum, blurred."""
    sharpness: float | None = None
    """Of the largest face, 0 blurred .. 1 crisp."""
    style_score: float | None = None
    """0 a plain photo .. 1 all style; None where the style brings no way to measure it."""
    faults: tuple[str, ...] = ()
    """Sentences: why it is flagged."""
    face_pass: tuple[str, ...] = ()
    """Likeness before and after of each face that was sampled again."""
    each: tuple[float | None, ...] = ()
    """Where there are several people, from left to right: the likeness of each; ``likeness`` is the least of them."""
    others: tuple[float, ...] = ()
    """Likewise: how alike each one's face is to the most similar other of them."""
    seeds: tuple[int, ...] = ()
    """Likewise: the seed of each one's part of the picture; one where the parts are not apart."""
    tries: int = 1
    """Which drawing of the picture this is, 1 the first."""


@dataclass(frozen=True, slots=True)
class RankedPortraits:
    """Portraits, best first."""

    person: str
    folder: Path
    sheet: Path
    report: Path
    portraits: tuple[Portrait, ...]
    """Those that are kept."""
    candidates: int = 0
    """How many were made, with several people all drawings of each picture."""
    notes: tuple[str, ...] = ()
    """Sentences about the set: that none is what was wanted, how many were not kept."""


@dataclass(frozen=True, slots=True)
class FaceLora:
    """A face LoRA of a person."""

    name: str
    file: Path
    sha256: str
    family: str
    checkpoint: str
    rank: int
    steps: int
    likeness: float | None
    created: str
    """UTC, ISO 8601."""
    grown_from: str = ""
    """Name of the LoRA that this one continues."""
    kind: str = "lora"
    """Its form, as in ``TrainConfig.kind``."""


@dataclass(frozen=True, slots=True)
class Person:
    """What we keep about one person."""

    name: str
    trigger: str
    subject: str
    photos: int
    """Prepared ones."""
    originals: int
    """Photos kept as they were given."""
    thumbnail: Path | None
    loras: tuple[FaceLora, ...]
    portraits: int
    """Generated pictures kept."""
    resumable: bool
    """True when an unfinished training can go on."""


@dataclass(frozen=True, slots=True)
class CheckpointChoice:
    """A checkpoint the host offers."""

    name: str
    path: Path
    note: str
    """Where it comes from, for people."""
    default: bool
    train: TrainConfig
    """Settings that suit it."""
    portrait: PortraitConfig
    prepare: PrepareConfig


@dataclass(frozen=True, slots=True)
class StyleTrainRequest:
    """Pictures (files or folders) to learn the style called ``name`` from."""

    name: str
    sources: tuple[Path, ...] = ()
    """Not looked at when one is resumed."""
    trigger: str = ""
    """The word that will call it; made of the name when empty."""
    checkpoint: str | None = None
    config: TrainConfig = field(default_factory=TrainConfig)
    licence: str = "yours"
    replace: bool = False
    """Train a style of this name anew."""
    resume: bool = False
    """Go on with the unfinished training of this name, from the last saved state and with its own pictures, words and settings."""


@dataclass(frozen=True, slots=True)
class StyleTrainResult:
    """A style with its new LoRA."""

    style: Style
    lora: Path
    pictures: int
    captioned: str
    """Where the captions come from, for people."""
    steps: int
    seconds: float
    loss: float
    stopped_early: bool
    curve: tuple[LossPoint, ...]
    previews: tuple[Path, ...]
    notes: tuple[str, ...] = ()
