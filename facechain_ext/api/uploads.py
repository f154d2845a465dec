"""Uploaded photos are personal data: they lie in a private folder of the workspace, only as long as their job needs them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from facechain_ext.api.problems import TooLarge, limited, sentences
from facechain_ext.api.schemas import PhotoBody, PrepareBody
from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.workspace import PrivateFolder, safe_file_name, storage_errors

MB = 1 << 20
PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
"""Faces belong in nobody's cache."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """How much a request may bring."""

    photos: int = 200
    photo_bytes: int = 64 * MB
    multipart_bytes: int = 512 * MB
    json_bytes: int = 128 * MB
    """Held in memory, so less."""


LIMITS = UploadLimits()


@dataclass(slots=True)
class Sent:
    """What a request to prepare photos brought: its fields, and each photo as (name, opened file or bytes)."""

    person: str
    checkpoint: str | None
    settings: dict[str, Any]
    photos: list[tuple[str, BinaryIO | bytes]] = field(default_factory=list)


async def sent_photos(request: Request) -> AsyncIterator[Sent]:
    """A dependency: the request's photos, multipart or JSON; what multipart spooled is dropped after the handler.

    Raises:
        TooLarge: for too many bytes or photos.
        UserInputError: for anything else than the two forms.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        # A form is what another site's page could send to us in the user's browser, without asking us first.
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise UserInputError("A page of another site may not send forms here. Send JSON.")
        form = await limited(request, LIMITS.multipart_bytes).form()
        try:
            yield _from_form(form)
        finally:
            await form.close()
    elif kind == "application/json":
        yield _from_json(await limited(request, LIMITS.json_bytes).body())
    else:
        raise UserInputError("Send the photos as multipart/form-data, or as application/json with base64.")


def _from_form(form: FormData) -> Sent:
    unknown = sorted(set(form) - {"person", "photos", "checkpoint", "settings"})
    if unknown:
        raise UserInputError(f"Unknown fields: {', '.join(unknown)}. Known are person, photos, checkpoint and settings.")
    texts = {key: form.get(key) for key in ("person", "checkpoint", "settings")}
    files = form.getlist("photos")
    if not isinstance(texts["person"], str):
        raise UserInputError("'person': a name is required.")
    if any(isinstance(value, UploadFile) for value in texts.values()) or not all(isinstance(f, UploadFile) for f in files):
        raise UserInputError("'photos' are files; 'person', 'checkpoint' and 'settings' are texts.")
    settings = _json(str(texts["settings"] or "{}").encode(), "'settings'")
    photos: list[tuple[str, BinaryIO | bytes]] = [(f.filename or "", f.file) for f in files if isinstance(f, UploadFile)]
    return Sent(texts["person"], str(texts["checkpoint"]) if texts["checkpoint"] else None, settings, photos)


def _from_json(body: bytes) -> Sent:
    try:
        read = PrepareBody(**_json(body, "The request"))
    except ValidationError as error:
        raise UserInputError(sentences(error.errors())) from None
    photos: list[tuple[str, BinaryIO | bytes]] = []
    for number, photo in enumerate(read.photos, start=1):
        name, data = (photo.name, photo.data) if isinstance(photo, PhotoBody) else ("", photo)
        photos.append((name, decoded(data, name or f"photo {number}")))
    return Sent(read.person, read.checkpoint, read.settings, photos)


def _json(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise UserInputError(f"{what} is not JSON.") from None
    except RecursionError:
        raise UserInputError(f"{what} is nested too deeply.") from None
    if not isinstance(value, dict):
        raise UserInputError(f"{what} must be a JSON object.")
    return value


def decoded(data: str, name: str) -> bytes:
    """The bytes of ``data``, base64 or a data: address.

    Raises:
        FileFormatError: when it is neither.
    """
    text = data.partition(",")[2] if data.startswith("data:") else data
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise FileFormatError(f"'{name}' is not base64. Send the file's bytes encoded, without anything else.") from None


def store(photos: Sequence[tuple[str, BinaryIO | bytes]], folder: PrivateFolder) -> tuple[Path, ...]:
    """Write the photos into ``folder``, each under its own name as far as that is harmless.

    Raises:
        TooLarge: for too many photos or one too large.
        UserInputError: when there is none.
    """
    if not photos:
        raise UserInputError("There are no photos in the request. Send one or more as 'photos'.")
    if len(photos) > LIMITS.photos:
        raise TooLarge(f"{len(photos)} photos are too many; {LIMITS.photos} can be sent at once. Choose the best.")
    files = []
    with storage_errors("the upload"):
        for number, (name, source) in enumerate(photos, start=1):
            # A folder each: photos of two phones share their names, and verdicts show the names.
            file = folder.path / f"{number:04d}" / safe_file_name(name, number)
            file.parent.mkdir()
            _write(file, source)
            files.append(file)
    return tuple(files)


def _write(file: Path, source: BinaryIO | bytes) -> None:
    # A zip file holds many photos; their own sizes are looked at when it is unpacked.
    most = LIMITS.multipart_bytes if file.suffix.lower() == ".zip" else LIMITS.photo_bytes
    size = 0
    with file.open("wb") as target:
        for piece in _pieces(source):
            size += len(piece)
            if size > most:
                raise TooLarge(f"'{file.name}' is larger than {most / MB:g} MB. Send photos as JPEG, in several requests if need be.")
            target.write(piece)


def _pieces(source: BinaryIO | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    while piece := source.read(MB):
        yield piece


def pieces(file: Path, folder: PrivateFolder) -> Iterator[bytes]:
    """``file`` piece by piece; ``folder`` goes with the last one, or when the other side hangs up and this is forgotten."""
    try:
        with file.open("rb") as source:
            while piece := source.read(MB):
                yield piece
    finally:
        folder.remove()
