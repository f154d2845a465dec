"""One table of every setting people can change: label, help, range and default, for the pages, the API and the infotext.

Ranges, choices and defaults come from the dataclasses in ``config``; only the words for people live here.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from facechain_ext.config import PortraitConfig, PrepareConfig, Settings, TrainConfig
from facechain_ext.errors import ConfigError

S = TypeVar("S", bound=Settings)

WORDS: dict[type[Settings], dict[str, tuple[str, str]]] = {
    PrepareConfig: {
        "trigger": ("Trigger word", "A rare word that will stand for the person in prompts."),
        "subject": ("Class word", "What the person is: person, woman, man, girl, boy."),
        "resolution": ("Crop size", "Side of the crops, px."),
        "crop_scale": ("Room around the face", "Side of the crop divided by the face's; more shows hair and shoulders."),
        "max_photos": ("Photos used", "At most this many, the best ones."),
        "vary_framing": ("Vary the framing", "Some crops closer, some wider."),
        "buckets": ("Keep the photo's shape", "Tall and wide crops beside square ones."),
        "captions": (
            "Captions",
            "Plain: only the trigger. Described: also what differs between the photos. Host: with the WebUI's own tagger.",
        ),
        "background": ("Background", "Behind the person: keep it, blur it, or make it white."),
        "retouch": ("Retouch the skin a little", "Only where the face stays the same; off keeps every mole."),
        "keep_photos": ("Keep my photos", "Stores the photos themselves too, to check them again without an upload."),
    },
    TrainConfig: {
        "steps": ("Steps", "How long to train."),
        "rank": ("Rank", "Capacity of the LoRA; the file grows with it."),
        "alpha": ("Alpha", "The LoRA's output is scaled by alpha / rank."),
        "kind": ("Kind of LoRA", "rslora keeps its strength at high ranks, dora learns magnitudes too, loha holds more, lokr is the smallest."),
        "targets": ("Layers that learn", "Attention only, all linear layers, or the convolutions too."),
        "learning_rate": ("Learning rate", "Lower it when portraits look burnt."),
        "text_encoder_rate": ("Text encoder's learning rate", "0 leaves it as it is, which suits faces best."),
        "text_rank": ("Text encoder's rank", "Empty takes the rank above."),
        "ema": ("Moving average", "Of all steps; 0.99 is usual, 0 is off."),
        "batch": ("Batch", "Photos at a time; more needs more memory."),
        "accumulation": ("Passes a step", "Batches that make one step; as a larger batch, without its memory."),
        "processes": ("Processes", "One for each GPU; they share every step, each with its own batch."),
        "optimizer": ("Optimizer", "adamw8bit needs bitsandbytes, prodigy prodigyopt, schedule-free schedulefree."),
        "schedule": ("Schedule", "How the learning rate goes down after the warm-up."),
        "keep": ("Keep", "Best: the LoRA whose portraits are most alike, on seeds not shown before. Last: the last step's."),
        "patience": ("Patience", "Previews without a better likeness that end the training; 0 goes to the last step."),
        "resolution": ("Resolution", "Training px; empty takes the checkpoint's own."),
        "face_weight": ("Face weight", "0 learns the whole picture, 1 only the face."),
        "mask": ("What counts more", "The face, the face with its hair (head), or the whole person (figure)."),
        "seed": ("Seed", "The same seed and photos give the same LoRA."),
        "warmup": ("Warm-up", "Steps in which the learning rate rises from 0."),
        "weight_decay": ("Weight decay", "Pulls weights towards 0."),
        "gradient_clip": ("Gradient clipping", "Largest norm of a step's gradient; 0 does not limit it."),
        "debiased": ("Debiased weighting", "Of noisy and clean steps, instead of min-SNR."),
        "noise_offset": ("Noise offset", "Helps very dark and very bright pictures; 0.05 is much."),
        "min_snr_gamma": ("Min-SNR gamma", "Balances noisy and clean steps; 0 switches it off."),
        "caption_dropout": ("Caption dropout", "Share of samples trained with an empty prompt."),
        "shuffle_captions": ("Shuffle captions", "Tags in changing order, trigger and class word first."),
        "prior_weight": ("Prior preservation", "Weight of class images, so that not everybody becomes the person; 0 is off, 1 is usual."),
        "class_images": ("Class images", "Made by the checkpoint before training, kept for the next one."),
        "preview_every": ("Preview every", "Steps between previews; 0 makes none but the last."),
        "previews": ("Portraits per preview", "Each is measured for likeness."),
        "save_every": ("Save every", "Steps between saved states, from which training can resume."),
        "memory": ("Fit to memory", "Auto: what is free. Batch and passes first, then checkpointing, resolution last."),
        "precision": ("Precision", "Of the frozen checkpoint while training; auto is what it is loaded in. The LoRA learns in fp32 always."),
        "gradient_checkpointing": ("Save memory", "Gradient checkpointing: less memory, about a third more time."),
        "offload": ("Weights in main memory", "For the smallest cards: the checkpoint's weights come to the card one by one, which is slower."),
        "flip": ("Mirror at random", "Faces are not symmetric: leave it off unless photos are few."),
    },
    PortraitConfig: {
        "count": ("Candidates", "How many portraits to make; each is scored."),
        "keep": ("Keep the best", "How many of them to keep; empty keeps all."),
        "steps": ("Sampling steps", "More is finer and slower."),
        "cfg": ("Prompt strength (CFG)", "How closely to follow the words."),
        "width": ("Width", "px; empty takes the checkpoint's own."),
        "height": ("Height", "px; empty takes the checkpoint's own."),
        "seed": ("Seed", "Of the first portrait; empty draws one."),
        "face_weight": ("Face weight", "How strongly the face LoRA acts."),
        "style_weight": ("Style weight", "Of the style's LoRA; empty takes the style's own."),
        "balance": ("More style … more me", "0 is all for the style, 1 all for the person; where the style has a LoRA."),
        "blend": ("Blend", "Empty: what was measured, else the default. 'sum', or a plan: face 0.9 + style 0.6 steps 0>1@0.3-0.6 cosine."),
        "style_blocks": ("Style's block weights", "Of the UNet's 25 (SDXL: 19) blocks, such as 1*3|0*19|1*3; empty is 1 everywhere."),
        "face_guidance": ("Face guidance", "How many times guidance makes the face LoRA act beside a style's LoRA; 1 adds it as it is."),
        "style_guidance": ("Style guidance", "The same for the style's LoRA; empty takes the style's own."),
        "sampler": ("Sampler", "How noise becomes a picture."),
        "batch": ("Made together", "Portraits sampled at once; more needs more memory."),
        "min_likeness": ("Wanted likeness", "Portraits below are marked, never dropped."),
        "face_pass": ("Face pass", "Samples small faces again, larger, with the face LoRA. Auto: only small ones."),
        "face_pass_strength": ("Face pass strength", "More gives more likeness and less of the expression."),
        "people_by": ("Several people by", "Regions: each in a column of its own. Faces: a common draft, then face by face."),
        "tries": ("Tries", "Several people: drawings of each picture at most, until every face is its own person's."),
        "own_likeness": ("Likeness of each", "Several people: what every face needs to its own person."),
        "other_likeness": ("Likeness to the others", "Several people: what a face may have at most to anyone else of them."),
        "face_pass_below": ("Small faces", "Share of the checkpoint's own size below which auto works on a face."),
    },
}


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as people see it."""

    config: type[Settings]
    name: str
    label: str
    help: str
    kind: type
    """``int``, ``float``, ``str`` or ``bool``."""
    optional: bool
    """True when it may be empty."""
    default: Any
    low: float | None = None
    high: float | None = None
    multiple: int | None = None
    above: bool = False
    """True when ``low`` itself is excluded."""
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> str:
        """The allowed range in words, empty when there is none."""
        if self.low is None or self.high is None:
            return ""
        start = f"above {self.low:g} to" if self.above else f"{self.low:g} to"
        return f"{start} {_plain(self.high)}" + (f", a multiple of {self.multiple}" if self.multiple else "")

    @property
    def info(self) -> str:
        """Help and range, the line below the label."""
        return f"{self.help} ({self.range})" if self.range else self.help

    def parse(self, value: Any) -> Any:
        """``value`` as a form or an infotext gives it, in the type the setting wants; what cannot be converted stays as it is."""
        if value is None or (isinstance(value, str) and not value.strip() and self.kind is not str):
            return None if self.optional else value
        try:
            if self.kind is int and not isinstance(value, bool):
                return int(float(value)) if float(value).is_integer() else float(value)
            if self.kind is float and not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError, OverflowError):
            return value
        return value.strip() if isinstance(value, str) else value


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def fields_of(config: type[Settings]) -> tuple[Field, ...]:
    """The shown settings of ``config``, in the order of the page."""
    return tuple(field_of(config, name) for name in WORDS[config])


def field_of(config: type[Settings], name: str) -> Field:
    """One setting, its range and default read from the dataclass."""
    declared = {f.name: f for f in dataclasses.fields(config)}[name]
    hint = typing.get_type_hints(config)[name]
    options = typing.get_args(hint)
    kind = next((o for o in options if o is not type(None)), hint) if options else hint
    label, words = WORDS[config][name]
    meta = declared.metadata
    return Field(
        config=config,
        name=name,
        label=label,
        help=words,
        kind=kind,
        optional=type(None) in options,
        default=declared.default,
        low=meta.get("low"),
        high=meta.get("high"),
        multiple=meta.get("multiple"),
        above=bool(meta.get("above", False)),
        choices=tuple(meta.get("choices", ())),
    )


def read_form(base: S, values: Mapping[str, Any]) -> S:
    """``base`` with the form's ``values`` put over it.

    Raises:
        ConfigError: one sentence per problem, in the words of the page.
    """
    table = {f.name: f for f in fields_of(type(base))}
    given = {name: table[name].parse(value) if name in table else value for name, value in values.items()}
    try:
        return type(base).from_dict({**base.to_dict(), **given})
    except ConfigError as error:
        raise ConfigError([_in_words(problem, table) for problem in error.problems]) from None


def _in_words(problem: str, table: Mapping[str, Field]) -> str:
    for name, field in table.items():
        problem = problem.replace(f"'{name}'", f"'{field.label}'", 1)
    return problem
