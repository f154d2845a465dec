"""What requests and answers hold, in what pydantic 1.10 (the WebUI's) and pydantic 2 both know."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, Field

from facechain_ext.config import PortraitConfig, PrepareConfig, Settings, TrainConfig


def overridden(kind: type[Settings]) -> str:
    """A sentence that lists the settings of ``kind``."""
    return f"Overrides of the checkpoint's own settings: {', '.join(f.name for f in dataclasses.fields(kind))} (docs/settings.md)."


class Problem(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="A code for programs.")
    message: str = Field(description="What happened and what to do, for people.")


class PhotoBody(BaseModel, extra="forbid"):
    """One photo in a JSON request."""

    name: str = Field("", description="File name to show in the verdict.")
    data: str = Field(description="The file's bytes in base64; a data: URL will do.")


class PrepareBody(BaseModel, extra="forbid"):
    """Photos to turn into a person's dataset."""

    person: str
    photos: list[PhotoBody | str] = Field(description="Photos; a string stands for its base64 alone.")
    checkpoint: str | None = Field(None, description="Whose prepare settings to start from; null is the default one.")
    settings: dict[str, Any] = Field({}, description=overridden(PrepareConfig))


class TrainBody(BaseModel, extra="forbid"):
    """A face LoRA to train from the person's dataset."""

    person: str
    checkpoint: str | None = Field(None, description="A name from GET /checkpoints; null is the default one.")
    settings: dict[str, Any] = Field({}, description=overridden(TrainConfig))
    resume: bool = Field(False, description="Go on from the last saved state, with the settings it began with.")
    continue_from: str | None = Field(None, description="A finished LoRA of the person that learns on, with its own rank and alpha.")


class EstimateBody(BaseModel, extra="forbid"):
    """A training to tell memory and time of, before it starts."""

    checkpoint: str | None = Field(None, description="A name from GET /checkpoints; null is the default one.")
    settings: dict[str, Any] = Field({}, description=overridden(TrainConfig))


class EstimateView(BaseModel):
    """What a training will take beyond what is loaded already."""

    memory_bytes: int = Field(description="At the peak.")
    free_bytes: int | None = Field(None, description="Free now where the training will run; null when that cannot be told.")
    fits: bool
    seconds: float | None = Field(None, description="Null until this machine's speed is known.")
    measured: bool = Field(description="True when the speed is that of an earlier training here, false when it is a guess.")
    instead: dict[str, Any] | None = Field(None, description="Settings that would fit, when these do not, or those that 'memory' chose.")
    plan: str = Field("", description="What 'memory' chose, in a sentence.")


class PortraitsBody(BaseModel, extra="forbid"):
    """Portraits to generate and rank."""

    person: str = Field("", description="Whose; not needed with people.")
    people: list[str] = Field([], description="Several people in one picture, from left to right; prompt may hold words for each, divided by |.")
    checkpoint: str | None = Field(None, description="A name from GET /checkpoints; null is the default one.")
    style: str | None = Field(None, description="An id from GET /styles; null is a plain portrait.")
    prompt: str = Field("", description="Your own words, added to style and person.")
    negative: str = ""
    exact_prompt: str | None = Field(
        None, description="The whole prompt, in place of the composed one; {person} stands for the person's words."
    )
    exact_negative: str | None = Field(None, description="The whole negative prompt, likewise.")
    with_lora: bool = Field(True, description="False leaves the face LoRA out.")
    settings: dict[str, Any] = Field({}, description=overridden(PortraitConfig))


class BlendBody(BaseModel, extra="forbid"):
    """A person and a style."""

    person: str
    style: str | None = Field(None, description="An id from GET /styles.")
    checkpoint: str | None = Field(None, description="A name from GET /checkpoints; null is the default one.")
    settings: dict[str, Any] = Field({}, description=overridden(PortraitConfig))


class BalanceBody(BlendBody):
    """A person and a style that has a LoRA, to be measured."""

    seconds: float = Field(120.0, gt=0, description="About how long it may take.")


class BlendPart(BaseModel):
    """One LoRA of a blend."""

    lora: str = Field(description="Its name.")
    role: str = Field(description="face or style")
    plan: str = Field(description="Weights, blocks and schedule (docs/blending.md).")


class BlendView(BaseModel):
    """How the LoRAs of a request will act."""

    blend: str = Field(description="The whole plan, as the setting 'blend' takes it.")
    parts: list[BlendPart]
    why: str = Field(description="Where it comes from, in a sentence.")
    measured: bool
    problems: list[str] = Field(description="Sentences: what of the files this checkpoint cannot use.")


class Health(BaseModel):
    """That we are here."""

    status: str
    version: str
    running: str | None = Field(None, description="Id of the job under way.")
    waiting: int = Field(0, description="Jobs in the queue.")


class LoraView(BaseModel):
    """A face LoRA."""

    name: str
    sha256: str
    family: str
    checkpoint: str
    rank: int
    steps: int
    likeness: float | None = None
    created: str = Field(description="UTC, ISO 8601.")
    grown_from: str = Field("", description="Name of the LoRA that this one continues.")


class PersonView(BaseModel):
    """What is kept about one person."""

    name: str
    trigger: str
    subject: str
    photos: int = Field(description="Prepared ones.")
    originals: int = Field(description="Photos kept as they were given.")
    portraits: int
    resumable: bool = Field(description="An unfinished training can go on.")
    loras: list[LoraView]


class Deleted(BaseModel):
    """What a deletion removed."""

    person: str
    files: int


class CheckpointView(BaseModel):
    """A checkpoint to train on and generate with, and the settings that suit it."""

    name: str
    note: str
    default: bool
    prepare: dict[str, Any]
    train: dict[str, Any]
    portraits: dict[str, Any]


class Accepted(BaseModel):
    """A job was queued."""

    job_id: str


class CurvePoint(BaseModel):
    """One point of the training curve."""

    step: int
    loss: float | None = None
    learning_rate: float
    likeness: float | None = None


class FaceView(BaseModel):
    """A face of a photo."""

    box: list[float] = Field(description="x0, y0, x1, y1 in shares 0..1 of the upright photo.")
    likeness: float | None = Field(None, description="To the person of the other photos, -1..1.")
    taken: bool = Field(description="This is the face that is used.")


class DecisionBody(BaseModel, extra="forbid"):
    """The user's last word about one photo of the last check."""

    photo: int = Field(description="Its place in the answer's list of photos, from 0.")
    face: int | None = Field(None, description="Use the photo whatever its verdict, with this one of its faces, from 0.")
    leave_out: bool = Field(False, description="Do not use the photo.")
    caption: str | None = Field(None, description="Another caption; empty brings ours back.")


class DecisionsBody(BaseModel, extra="forbid"):
    """All decisions about a person's last check; those made before and not named here are taken back."""

    decisions: list[DecisionBody]


class VerdictView(BaseModel):
    """What became of one photo."""

    file: str
    accepted: bool
    reasons: list[str] = Field(description="Codes: unreadable, no-face, blurred…")
    sentences: list[str]
    quality: float
    similarity: float | None = None
    faces: list[FaceView] = Field(description="Those that could be the person's, the largest first.")
    caption: str = Field("", description="Of an accepted photo.")


class SuggestionView(BaseModel):
    """Words for the person, to be taken or not."""

    subject: str = Field(description="Class word: baby, girl, boy, child, woman, man or person.")
    age_group: str = Field(description="baby, child, teenager, young, middle-aged or old.")
    age: int = Field(description="Years.")


class PrepareResult(BaseModel):
    """The outcome of POST /prepare; given when the job failed for want of a usable photo, too."""

    accepted: int
    photos: list[VerdictView]
    advice: list[str]
    suggestion: SuggestionView | None = Field(
        None, description="Null where the face models do not tell age and gender, as the shipped ones."
    )


class TrainOutcome(BaseModel):
    """The outcome of POST /train."""

    lora: str = Field(description="File name.")
    steps: int
    seconds: float
    loss: float | None = None
    likeness: float | None = None
    stopped_early: bool = Field(description="On request.")
    kept: str = Field("the last step", description="Which of the training's LoRAs this is.")
    reason: str = Field("", description="Why that one, where there were several.")
    notes: list[str] = Field([], description="What was not as planned: memory that ran out, a loss that ran away, an early end.")


class StyleOutcome(BaseModel):
    """The outcome of POST /styles/train."""

    style: str = Field(description="Its id.")
    trained_steps: int
    pictures: int
    captions: str = Field(description="Where they come from.")
    seconds: float
    notes: list[str]


class PortraitView(BaseModel):
    """One portrait."""

    file: str
    url: str
    seed: int
    likeness: float | None = None
    faces: int
    rank: int
    flagged: bool
    faults: list[str] = Field([], description="Sentences: why it is flagged.")
    sharpness: float | None = Field(None, description="Of the face, 0 blurred .. 1 crisp.")
    style_score: float | None = Field(None, description="0 a plain photo .. 1 all style; null where that cannot be measured.")
    face_pass: list[str] = Field([], description="Likeness before and after of each face that was sampled again.")
    each: list[float | None] = Field([], description="With several people, from left to right: the likeness of each; likeness is the least.")
    others: list[float] = Field([], description="Likewise: how alike each one's face is to the most similar other of them.")
    seeds: list[int] = Field([], description="Likewise: the seed of each one's part of the picture.")
    tries: int = Field(1, description="Which drawing of the picture this is, 1 the first.")
    infotext: str


class PortraitsResult(BaseModel):
    """The outcome of POST /portraits, the most alike first."""

    portraits: list[PortraitView]
    candidates: int = Field(0, description="How many were made.")
    notes: list[str] = Field([], description="Sentences about the set: that none is what was wanted, how many were not kept.")


class MeasuredView(BaseModel):
    """One blend that was tried."""

    plan: str
    likeness: float
    style: float = Field(description="0 a plain photo .. 1 all style.")


class BalanceResult(BaseModel):
    """The outcome of POST /balance."""

    measured: list[MeasuredView]
    without: float = Field(description="Likeness without the style.")
    previews: int = Field(description="Pictures each blend was judged by.")
    explanation: str = Field(description="Which is taken half way of the slider, and why; POST /blend says it for another setting of it.")


class ImageView(BaseModel):
    """A picture of a job."""

    file: str
    url: str
    caption: str


class JobView(BaseModel):
    """Where a job stands."""

    id: str
    kind: str = Field(description="prepare, train, portraits, style or balance")
    person: str
    state: str = Field(description="queued, running, done, failed, cancelled or paused")
    stage: str
    step: int
    total: int
    message: str
    loss: float | None = None
    eta_s: float | None = Field(None, description="Seconds to the end of the stage.")
    likeness: float | None = None
    ahead: int = Field(description="Jobs that run or wait before this one.")
    started: float | None = Field(None, description="Unix time.")
    finished: float | None = None
    error: str | None = Field(None, description="A sentence, when it failed.")


class JobDetail(JobView):
    """A job with all it has to show."""

    curve: list[CurvePoint]
    images: list[ImageView] = Field(description="Previews of a training, portraits of a finished portraits job.")
    result: PrepareResult | TrainOutcome | PortraitsResult | StyleOutcome | BalanceResult | None = None
