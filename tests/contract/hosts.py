"""The hosts that the suites of ``TrainHost``, ``TrainSession`` and ``ImageGenerator`` run on: name -> factory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from tests.tiny_checkpoints import KINDS, write


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Kept by the cache, so it is removed when Python ends."""
    return tempfile.TemporaryDirectory(prefix="facechain-tests-")


@cache
def tiny(kind: str) -> Path:
    """The tiny checkpoint of ``kind``, written once for all suites."""
    return write(kind, Path(_folder().name))


def standalone(kind: str) -> StandaloneHost:
    """The standalone host on the tiny checkpoint of ``kind``."""
    return StandaloneHost(tiny(kind))


HOSTS: dict[str, Callable[[], StandaloneHost]] = {
    "standalone": lambda: StandaloneHost(SHIPPED / "tiny-faces.safetensors"),
    **{f"standalone-{kind}": partial(standalone, kind) for kind in KINDS},
}
