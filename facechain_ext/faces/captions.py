"""What the caption of a training photo says."""

from __future__ import annotations


def caption(trigger: str, subject: str) -> str:
    """The caption of a person's photo; trigger and class word carry the identity, nothing else is claimed."""
    return f"photo of {trigger.strip()} {subject.strip()}".strip()
