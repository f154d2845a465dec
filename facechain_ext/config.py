"""Settings as frozen dataclasses: checked when built, every problem reported at once, unknown keys refused."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from facechain_ext.blend import FACE, SUM, parse_blocks, parse_plan
from facechain_ext.errors import ConfigError, UserInputError

T = TypeVar("T", bound="Settings")

SEED_MAX = 2**32 - 1


def limits(low: float, high: float, *, multiple: int | None = None, above: bool = False) -> dict[str, Any]:
    """Field metadata: allowed range ``low..high`` (``low`` itself excluded when ``above``), optional ``multiple``."""
    return {"low": low, "high": high, "multiple": multiple, "above": above}


def choices(*values: str) -> dict[str, Any]:
    """Field metadata: the strings allowed."""
    return {"choices": values}


@dataclass(frozen=True)
class Settings:
    """Base of all settings; subclasses declare fields with ``limits`` or ``choices`` as metadata."""

    def __post_init__(self) -> None:
        problems = [
            p for f in dataclasses.fields(self) for p in _problems(f, getattr(self, f.name), typing.get_type_hints(type(self))[f.name])
        ]
        problems += self.cross_checks() if not problems else []
        if problems:
            raise ConfigError(problems)

    def cross_checks(self) -> list[str]:
        """Sentences about fields that contradict each other."""
        return []

    @classmethod
    def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
        """Build from plain data.

        Raises:
            ConfigError: for unknown keys and values out of range, all of them together.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        problems = []
        for key in values:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}."
                problems.append(f"'{key}' is not a setting of {cls.__name__}: {hint}")
        try:
            made = cls(**{k: v for k, v in values.items() if k in names})
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        if problems:
            raise ConfigError(problems)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain data that ``from_dict`` takes back."""
        return dataclasses.asdict(self)


def _problems(f: dataclasses.Field[Any], value: Any, kind: Any) -> list[str]:
    options = typing.get_args(kind)
    if value is None:
        return [] if type(None) in options else [f"'{f.name}' must not be empty."]
    wanted = next((o for o in options if o is not type(None)), kind) if options else kind
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        return [f"'{f.name}' must be {_said(wanted)}, not {value!r}."]
    meta = f.metadata
    if "choices" in meta and value not in meta["choices"]:
        return [f"'{f.name}' must be one of {', '.join(meta['choices'])}, not '{value}'."]
    if "low" in meta:
        too_low = value <= meta["low"] if meta["above"] else value < meta["low"]
        if too_low or value > meta["high"] or not math.isfinite(value):
            return [f"'{f.name}' must lie between {_bound(meta['low'])} and {_bound(meta['high'])}, not {value}."]
        if meta["multiple"] and value % meta["multiple"]:
            return [f"'{f.name}' must be a multiple of {meta['multiple']}, not {value}."]
    return []


def _bound(value: float) -> str:
    # The largest seed in full: nobody finds out which number 4.29497e+09 is.
    return str(value) if isinstance(value, int) else f"{value:g}"


def _said(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(kind, kind.__name__)


AS_SET = "as set"
"""The choice of ``TrainConfig.memory`` that changes nothing."""
FRAMINGS = {"Close-up": 1.5, "Head and shoulders": 2.4, "FaceChain": 3.286, "Upper body": 4.5}
"""Presets of ``PrepareConfig.crop_scale``."""


@dataclass(frozen=True)
class PrepareConfig(Settings):
    """How photos become a dataset."""

    resolution: int = field(default=512, metadata=limits(64, 2048, multiple=8))
    """Side of the crops, px."""
    crop_scale: float = field(default=2.4, metadata=limits(1.2, 6.0))
    """Side of the crop divided by the longest side of the face box; FaceChain uses 3.286."""
    vary_framing: bool = False
    """Every second and third photo closer and wider, so that not every portrait is a close-up."""
    buckets: bool = False
    """Crops in the shape of their photo (bucketed aspect ratios, about as many pixels) instead of squares."""
    captions: str = field(default="described", metadata=choices("plain", "described", "host"))
    """Only the trigger and class word (plain), also what can be measured: framing, view, light, glasses, background (described), or also the tags of
    the WebUI's own captioner, where its model is installed (host). What most photos share is left out."""
    background: str = field(default="keep", metadata=choices("keep", "blur", "white"))
    """What becomes of everything behind the person in the crops."""
    retouch: bool = False
    """Halve small unevenness of the skin, where the face stays the same by its embedding."""
    trigger: str = "sks"
    """Word that will name the person in prompts."""
    subject: str = "person"
    """Class word after the trigger, e.g. person, man, woman, boy, girl."""
    max_photos: int = field(default=100, metadata=limits(1, 1000))
    """Photos used at most, the best ones."""
    keep_photos: bool = False
    """Keep the photos themselves with the person, to prepare them again later; off, only the crops stay."""

    def cross_checks(self) -> list[str]:
        problems = [
            f"'{name}' must be a few plain words without commas or brackets, not {value!r}."
            for name, value in (("trigger", self.trigger), ("subject", self.subject))
            if not plain_words(value)
        ]
        return problems


def plain_words(text: str) -> bool:
    """True when ``text`` is 1..60 characters that prompt syntax gives no meaning to."""
    return 0 < len(text.strip()) <= 60 and not set(text) & set(',()[]{}<>:|\\"\n\r\t')


@dataclass(frozen=True)
class TrainConfig(Settings):
    """How a face LoRA is trained."""

    steps: int = field(default=600, metadata=limits(1, 20000))
    """Optimizer steps."""
    rank: int = field(default=16, metadata=limits(1, 256))
    """Rank of the LoRA: higher holds more, is larger and overfits sooner."""
    alpha: float = field(default=16.0, metadata=limits(0, 512, above=True))
    """The LoRA's output is scaled by alpha / rank (rsLoRA's by alpha / √rank)."""
    kind: str = field(default="lora", metadata=choices("lora", "rslora", "dora", "loha", "lokr"))
    """Form of the LoRA. rslora keeps its strength at high ranks, dora also learns magnitudes, loha holds more per byte, lokr is the
    smallest. All WebUIs read all of them, diffusers lora and rslora."""
    targets: str = field(default="linear", metadata=choices("attention", "linear", "conv"))
    """Layers of the UNet that learn: those of attention only, every linear layer of the transformers, or the residual blocks'
    convolutions too."""
    text_encoder_rate: float = field(default=0.0, metadata=limits(0, 0.1))
    """Peak rate of the text encoders; 0 leaves them as they are, which suits faces best."""
    text_rank: int | None = field(default=None, metadata=limits(1, 256))
    """Rank of the LoRA in the text encoders, with the same alpha / rank; None takes the UNet's."""
    ema: float = field(default=0.0, metadata=limits(0, 0.9999))
    """Share of the moving average of all steps that each step keeps, e.g. 0.99; previews and result are the average's. 0 is off."""
    batch: int = field(default=2, metadata=limits(1, 64))
    """Samples in each pass through the UNet."""
    accumulation: int = field(default=1, metadata=limits(1, 64))
    """Passes whose gradients make one step; batch x accumulation samples count as one."""
    processes: int = field(default=1, metadata=limits(1, 16))
    """Processes that share every step, each with its own GPU and its own batch: two of batch 2 learn what one of batch 4 does. In the
    standalone program only."""
    learning_rate: float = field(default=3e-4, metadata=limits(0, 0.1, above=True))
    """Peak rate."""
    optimizer: str = field(default="adamw", metadata=choices("adamw", "adamw8bit", "adafactor", "prodigy", "schedule-free"))
    """What turns gradients into steps. adamw8bit needs the package bitsandbytes, prodigy prodigyopt (it finds the learning rate itself),
    schedule-free schedulefree (it has no schedule)."""
    gradient_clip: float = field(default=1.0, metadata=limits(0, 100))
    """Largest norm of the gradient; 0 does not limit it."""
    schedule: str = field(default="cosine", metadata=choices("cosine", "linear", "constant"))
    """How the rate goes on after the warm-up: down to a tenth along a cosine or a line, or not at all."""
    warmup: int = field(default=20, metadata=limits(0, 2000))
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = field(default=0.01, metadata=limits(0, 1))
    """Of AdamW."""
    resolution: int | None = field(default=None, metadata=limits(64, 2048, multiple=8))
    """Training px; None takes the checkpoint's own."""
    min_snr_gamma: float = field(default=5.0, metadata=limits(0, 100))
    """Min-SNR weighting (Hang et al. 2023); 0 switches it off."""
    debiased: bool = False
    """Debiased weighting of timesteps (Yu et al. 2023) instead of min-SNR."""
    noise_offset: float = field(default=0.0, metadata=limits(0, 1))
    """Share of noise that is the same all over the picture; helps very dark and very bright ones."""
    face_weight: float = field(default=0.7, metadata=limits(0, 1))
    """0: every pixel counts the same; 1: only what the mask shows counts."""
    mask: str = field(default="face", metadata=choices("face", "head", "figure"))
    """What counts more: the face, the face with its hair, or the whole person."""
    flip: bool = False
    """Mirror at random; faces are not symmetric, so off."""
    caption_dropout: float = field(default=0.05, metadata=limits(0, 0.9))
    """Share of samples trained with an empty prompt."""
    shuffle_captions: bool = False
    """Tags of a caption in changing order, trigger and class word first."""
    prior_weight: float = field(default=0.0, metadata=limits(0, 2))
    """Prior preservation: how much pictures of the class word count, which the checkpoint makes before training, so that not everybody
    becomes the person; 0 is off, 1 as much as the photos. Steps take twice as long."""
    class_images: int = field(default=24, metadata=limits(1, 500))
    """Such pictures; made once for a checkpoint, class word and resolution."""
    memory: str = field(default=AS_SET, metadata=choices(AS_SET, "auto", "6 GB", "8 GB", "12 GB", "24 GB"))
    """Fit batch, passes a step, gradient checkpointing and, last, resolution to the memory that is free (auto) or to a graphics card of so
    many GB; as set changes nothing."""
    precision: str = field(default="auto", metadata=choices("auto", "fp32", "bf16", "fp16"))
    """Of the frozen checkpoint while it is trained on; what learns is float32 always. auto is the host's: half on a GPU, fp32 on a CPU.
    Inside a WebUI it is the WebUI's."""
    gradient_checkpointing: bool = False
    """Less memory, about a third more time."""
    offload: bool = False
    """Keep the checkpoint's weights in main memory and bring each to the graphics card when it is needed: for cards that cannot hold them,
    and slower. What is learned is the same. In the standalone program only."""
    save_every: int = field(default=100, metadata=limits(1, 20000))
    """Steps between saved states (what resume goes on from)."""
    preview_every: int = field(default=100, metadata=limits(0, 20000))
    """Steps between previews; 0 makes none but the last."""
    previews: int = field(default=4, metadata=limits(0, 16))
    """Portraits per preview, scored for likeness."""
    keep: str = field(default="best", metadata=choices("best", "last"))
    """Which LoRA is kept: the one whose portraits are most alike on seeds not looked at before (the last step, the best preview's, or the
    mean of the best ones), or the last step's."""
    patience: int = field(default=4, metadata=limits(0, 100))
    """Previews without a better likeness after which training ends early; 0 never does."""
    seed: int = field(default=1, metadata=limits(0, SEED_MAX))
    """Decides start, order, noise and previews; the same seed gives the same LoRA on the same machine."""

    def cross_checks(self) -> list[str]:
        problems = []
        if self.text_encoder_rate and self.optimizer == "prodigy":
            problems.append(
                "'text_encoder_rate' must be 0 with the optimizer prodigy, which finds one rate for everything. Choose another optimizer."
            )
        if self.ema and self.optimizer == "schedule-free":
            problems.append("'ema' must be 0 with the optimizer schedule-free, which averages its steps itself.")
        return problems

    @property
    def samples(self) -> int:
        """Samples of which a step is made, those of all processes together."""
        return self.batch * self.accumulation * self.processes


def _blend_problems(text: str) -> list[str]:
    if text.strip() in ("", SUM):
        return []
    try:
        plan = parse_plan(text)
    except UserInputError as error:
        return [f"'blend': {error}"]
    return [] if plan.part(FACE) is not None else [f"'blend' must say what the part '{FACE}' does, not '{text}'."]


def _block_problems(text: str) -> list[str]:
    try:
        parse_blocks(text)
    except UserInputError as error:
        return [f"'style_blocks': {error}"]
    return []


@dataclass(frozen=True)
class PortraitConfig(Settings):
    """How portraits are generated."""

    count: int = field(default=4, metadata=limits(1, 100))
    """Candidates to generate; all are scored and ranked."""
    keep: int | None = field(default=None, metadata=limits(1, 100))
    """How many of them to keep, the best ones; None keeps all."""
    steps: int = field(default=25, metadata=limits(1, 200))
    """Sampling steps."""
    cfg: float = field(default=6.0, metadata=limits(1, 30))
    """Guidance scale: how strictly the prompt is followed."""
    width: int | None = field(default=None, metadata=limits(64, 4096, multiple=8))
    """px; None takes the checkpoint's own."""
    height: int | None = field(default=None, metadata=limits(64, 4096, multiple=8))
    """px; None takes the checkpoint's own."""
    sampler: str = field(default="DPM++ 2M Karras", metadata=choices("DPM++ 2M Karras", "Euler", "Euler a", "DDIM", "UniPC"))
    """With the WebUI's names."""
    seed: int | None = field(default=None, metadata=limits(0, SEED_MAX))
    """Seed of the first portrait, one more for each next; None draws one."""
    face_weight: float = field(default=0.9, metadata=limits(0, 2))
    """Weight of the face LoRA."""
    style_weight: float | None = field(default=None, metadata=limits(0, 2))
    """None takes the style's own."""
    balance: float = field(default=0.5, metadata=limits(0, 1))
    """Where a style has a LoRA: 0 is all for the style, 1 all for the person; 0.5 takes the weights as they are."""
    blend: str = ""
    """How face and style LoRA act together: empty takes what was measured for the two, else the default; sum adds them as they are;
    anything else is a plan, such as: face 0.9 + style 0.6 steps 0>1@0.3-0.6 cosine (see docs/blending.md)."""
    style_blocks: str = ""
    """Weights of the style's LoRA in each of the UNet's blocks, 25 or 19 of them; empty takes what the style brings, else 1 everywhere."""
    face_guidance: float = field(default=2.0, metadata=limits(1, 4))
    """How many times guidance makes the face LoRA act where a style's LoRA acts beside it, at most cfg times; 1 adds it as it is."""
    style_guidance: float | None = field(default=None, metadata=limits(1, 4))
    """The same for the style's LoRA; None takes what the style brings, else 1."""
    batch: int = field(default=2, metadata=limits(1, 32))
    """Portraits sampled together."""
    min_likeness: float = field(default=0.0, metadata=limits(-1, 1))
    """Portraits below are flagged, never dropped."""
    face_pass: str = field(default="auto", metadata=choices("auto", "off", "always"))
    """Sample faces again at the checkpoint's own size with the face LoRA and blend them in: small ones, of several people also those that miss
    their likeness (auto), none, or all. The original stays where that made it less alike."""
    face_pass_below: float = field(default=0.3, metadata=limits(0, 1))
    """What auto calls small: a face whose side is less than this share of the checkpoint's own px."""
    face_pass_strength: float = field(default=0.45, metadata=limits(0.05, 1))
    """How much of a face is sampled anew; more gives more likeness and less of its expression."""
    people_by: str = field(default="regions", metadata=choices("regions", "faces"))
    """Several people in one picture: each drawn in a column of its own with its own LoRA and words (regions), or the faces of a common
    draft replaced one by one (faces)."""
    tries: int = field(default=8, metadata=limits(1, 50))
    """Several people in one picture: how often each picture is drawn at most, until every face in it is its own person's. Drawn anew is
    only the part of those whose face was not; the best of them is the portrait."""
    own_likeness: float = field(default=0.45, metadata=limits(-1, 1))
    """Several people: how alike every face must at least be to its own person."""
    other_likeness: float = field(default=0.25, metadata=limits(-1, 1))
    """Several people: how alike a face may at most be to any of the others."""

    def cross_checks(self) -> list[str]:
        return _blend_problems(self.blend) + _block_problems(self.style_blocks)


@dataclass(frozen=True)
class PanelConfig(Settings):
    """The panel in the WebUI's txt2img and img2img; the API takes the same names."""

    person: str = ""
    style: str = "plain"
    face_weight: float = field(default=0.9, metadata=limits(0, 2))
    """Weight of the face LoRA."""
    style_weight: float = field(default=0.8, metadata=limits(0, 2))
    """Weight of the style's LoRA, where it has one."""
    min_likeness: float = field(default=0.0, metadata=limits(-1, 1))
    """Pictures below come last."""
    rank: bool = True
    """Put the most alike first."""
    balance: float = field(default=0.5, metadata=limits(0, 1))
    """0 is all for the style, 1 all for the person."""
    blend: str = ""
    """As for portraits."""
    beside: str = ""
    """Who else is in the picture, from left to right, divided by ``;``; the API takes a list too."""
    people_by: str = field(default="regions", metadata=choices("regions", "faces"))
    """As for portraits."""
    face_pass: str = field(default="off", metadata=choices("auto", "off", "always"))
    """As for portraits."""
    face_pass_strength: float = field(default=0.45, metadata=limits(0.05, 1))
    """As for portraits."""
    face_pass_below: float = field(default=0.3, metadata=limits(0, 1))
    """As for portraits."""
    own: str = ""
    """The user's own words, where the prompt is a whole composed one that is given back: from its infotext, and used only when they fit it."""

    def cross_checks(self) -> list[str]:
        return _blend_problems(self.blend)

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> PanelConfig:
        """From the values of the panel's controls, in the order of the fields; what is missing keeps its default."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls.from_panel({name: value for name, value in zip(names, values, strict=False) if value is not None})

    @classmethod
    def from_panel(cls, values: Mapping[str, Any]) -> PanelConfig:
        """As ``from_dict``, from what controls and programs give: names as a list, the face pass as a tick.

        Raises:
            ConfigError: see ``from_dict``.
        """
        given = dict(values)
        if isinstance(given.get("beside"), (list, tuple)):
            given["beside"] = "; ".join(map(str, given["beside"]))
        if isinstance(given.get("face_pass"), bool):
            given["face_pass"] = "auto" if given["face_pass"] else "off"
        return cls.from_dict(given)

    @property
    def others(self) -> tuple[str, ...]:
        """Names of ``beside``."""
        return tuple(name.strip() for name in self.beside.split(";") if name.strip())
