"""Examples for the OpenAPI schema, given in the one way fastapi 0.94 and today's both understand."""

from __future__ import annotations

from typing import Any

from facechain_ext.api.schemas import overridden
from facechain_ext.config import PrepareConfig

HEALTH = {"status": "ok", "version": "0.1.0", "running": None, "waiting": 0}
ACCEPTED = {"job_id": "5d0f1c9a7be24c11"}
DELETED = {"person": "Ada Lovelace", "files": 42}
TRAIN = {"person": "Ada Lovelace", "settings": {"steps": 600, "rank": 16}}
DECISIONS = {"decisions": [{"photo": 2, "face": 1}, {"photo": 5, "leave_out": True}, {"photo": 0, "caption": "photo of sks woman, smiling"}]}
ESTIMATE = {"settings": {"steps": 600, "batch": 4}}
ESTIMATED = {
    "memory_bytes": 7_900_000_000,
    "free_bytes": 6_100_000_000,
    "fits": False,
    "seconds": 540.0,
    "measured": True,
    "instead": {"gradient_checkpointing": True},
}
STYLE = {"name": "My garden", "prompt": "roses, garden wall, evening", "lora": "garden-v2", "weight": 0.6, "licence": "CC0"}
STYLE_TRAIN = {"name": "Ink", "trigger": "inkstyle", "pictures": [{"name": "1.png", "data": "<base64>", "caption": "ink, harbour"}]}
COMPOSE = {"person": "Ada Lovelace", "style": "knight", "prompt": "smiling"}
BLEND = {"person": "Ada Lovelace", "style": "charcoal", "settings": {"balance": 0.4}}
BALANCE = {"person": "Ada Lovelace", "style": "charcoal", "seconds": 120}
PORTRAITS = {"person": "Ada Lovelace", "style": "knight", "prompt": "smiling", "settings": {"count": 8, "min_likeness": 0.3}}
PERSON = {
    "name": "Ada Lovelace",
    "trigger": "sks",
    "subject": "woman",
    "photos": 12,
    "originals": 0,
    "portraits": 8,
    "resumable": False,
    "loras": [
        {
            "name": "Ada_Lovelace",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "family": "sd1",
            "checkpoint": "v1-5-pruned-emaonly",
            "rank": 16,
            "steps": 600,
            "likeness": 0.61,
            "created": "2025-01-31T12:00:00+00:00",
        }
    ],
}
JOB = {
    "id": "5d0f1c9a7be24c11",
    "kind": "train",
    "person": "Ada Lovelace",
    "state": "running",
    "stage": "train",
    "step": 120,
    "total": 600,
    "message": "Training",
    "loss": 0.112,
    "eta_s": 96.0,
    "likeness": None,
    "ahead": 0,
    "started": 1738324800.0,
    "finished": None,
    "error": None,
    "curve": [{"step": 120, "loss": 0.108, "learning_rate": 0.00029, "likeness": None}],
    "images": [{"file": "000100-0.png", "url": "/facechain/v1/jobs/5d0f1c9a7be24c11/images/0", "caption": "step 100"}],
    "result": None,
}
_FORM = {
    "type": "object",
    "required": ["person", "photos"],
    "properties": {
        "person": {"type": "string"},
        "photos": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "checkpoint": {"type": "string"},
        "settings": {"type": "string", "description": "A JSON object, as in the JSON form."},
    },
}
_JSON = {
    "type": "object",
    "required": ["person", "photos"],
    "properties": {
        "person": {"type": "string"},
        "photos": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string", "format": "byte"},
                    {
                        "type": "object",
                        "required": ["data"],
                        "properties": {"name": {"type": "string"}, "data": {"type": "string", "format": "byte"}},
                    },
                ]
            },
        },
        "checkpoint": {"type": "string"},
        "settings": {"type": "object", "description": overridden(PrepareConfig)},
    },
}
PREPARE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM, "encoding": {"photos": {"contentType": "image/*"}}},
            "application/json": {
                "schema": _JSON,
                "example": {
                    "person": "Ada Lovelace",
                    "photos": [{"name": "1.jpg", "data": "/9j/4AAQSkZJRg…"}],
                    "settings": {"subject": "woman"},
                },
            },
        },
    }
}
"""The request body of POST /prepare, which takes two forms and is read by hand."""


def body(example: dict[str, Any]) -> dict[str, Any]:
    """``openapi_extra`` that adds an example to a JSON body."""
    return {"requestBody": {"content": {"application/json": {"example": example}}}}


def answer(example: dict[str, Any], status: int = 200) -> dict[int | str, dict[str, Any]]:
    """``responses`` that add an example to the answer."""
    return {status: {"content": {"application/json": {"example": example}}}}


def binary(kind: str) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route that answers with a file of media type ``kind``."""
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}
