"""What requests and answers about styles and prompts hold."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from facechain_ext.api.schemas import overridden
from facechain_ext.config import TrainConfig


class StyleView(BaseModel):
    """One look."""

    id: str
    name: str
    category: str
    prompt: str
    negative: str
    keywords: list[str] = []
    lora: str | None = None
    weight: float
    family: str | None = None
    licence: str
    source: str = ""
    note: str = ""
    own: bool = Field(False, description="One of the user's, which can be changed and deleted.")


class StyleBody(BaseModel, extra="forbid"):
    """A style of the user's to save."""

    name: str
    prompt: str = Field("", description="Its words; {person} marks the person's place, else they follow the person.")
    negative: str = ""
    category: str = "own"
    keywords: list[str] = []
    lora: str | None = Field(None, description="A LoRA in the LoRA folder, by its name.")
    weight: float = Field(0.7, description="Of the LoRA, 0 to 2.")
    licence: str = "not stated"
    source: str = "made by you"
    replace: bool = Field(False, description="Change the style of this name.")


class ImportView(BaseModel):
    """What came of an import."""

    styles: list[StyleView]
    notes: dict[str, list[str]] = Field(description="By the style's id: what was changed or is missing.")
    refused: list[str]


class StyleDeleted(BaseModel):
    """A style is gone."""

    deleted: str


class PictureBody(BaseModel, extra="forbid"):
    """A picture to learn a style from."""

    name: str = ""
    data: str = Field(description="The file's bytes in base64; a data: URL will do.")
    caption: str = Field("", description="What it shows, as tags; those of most pictures become the style's words.")


class StyleTrainBody(BaseModel, extra="forbid"):
    """A style LoRA to train from pictures."""

    name: str
    pictures: list[PictureBody] = Field([], description="None with 'resume'.")
    trigger: str = Field("", description="The word that will call it; made of the name when empty.")
    checkpoint: str | None = Field(None, description="A name from GET /checkpoints; null is the default one.")
    settings: dict[str, Any] = Field({}, description=overridden(TrainConfig))
    licence: str = "yours"
    replace: bool = False
    resume: bool = Field(False, description="Go on with the unfinished training of this name, from its last saved state, with its own pictures.")


class ComposeBody(BaseModel, extra="forbid"):
    """A request for portraits, as far as it decides their prompts."""

    person: str
    style: str | None = Field(None, description="An id from GET /styles; null is a plain portrait.")
    prompt: str = Field("", description="Your own words, added to style and person.")
    negative: str = ""


class PartView(BaseModel):
    """A piece of a prompt; all pieces one after another are the prompt."""

    source: str = Field(description="style, person or own.")
    text: str


class ComposedView(BaseModel):
    """The prompts that portraits would be made with."""

    prompt: str
    negative: str
    parts: list[PartView]
    negative_parts: list[PartView]
    tokens: list[int] = Field(description="In each chunk of 75.")
    negative_tokens: list[int]
    notes: list[str] = Field(description="Words that contradict the person, or say something about looks.")
