"""What requests and answers about styles and prompts hold."""

from __future__ import annotations

from pydantic import BaseModel, Field


class StyleView(BaseModel):
    """One look."""

    id: str
    name: str
    category: str
    prompt: str
    negative: str
    lora: str | None = None
    weight: float
    licence: str


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
