"""The composition root of the command line: wires the core to the standalone host and the shipped face models."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from facechain_ext.cli.output import Output
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken
from facechain_ext.services.studio import Studio
from facechain_ext.workspace import Workspace


@dataclass
class Options:
    """The options that stand before the command."""

    workspace: Path | None = None
    debug: bool = False
    pack: str | None = None


OPTIONS = Options()
"""Filled by the main callback; a command-line process serves one call."""


def make_studio(output: Output) -> Studio:
    """The use cases on diffusers and InsightFace; nothing heavy is loaded yet."""
    from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints

    workspace = Workspace(OPTIONS.workspace)
    output.messages.print(f"[dim]Workspace: {workspace.root}[/dim]", highlight=False)
    return Studio(workspace, analyzer_of(workspace), StandaloneCheckpoints(workspace))


def analyzer_of(workspace: Workspace) -> Callable[[], FaceAnalyzer]:
    """A function that makes the face analyzer once, when first asked."""

    @functools.cache
    def make() -> FaceAnalyzer:
        from facechain_ext.vision.insight import InsightAnalyzer
        from facechain_ext.vision.packs import SHIPPED, pack_folder

        return InsightAnalyzer(pack_folder(OPTIONS.pack or SHIPPED, workspace.packs))

    return make


@contextlib.contextmanager
def interruptible(output: Output, *, keeps: bool) -> Iterator[CancelToken]:
    """Yield a token that Ctrl-C (or a polite kill) reaches: first to stop and keep when ``keeps``, again to cancel."""
    token = CancelToken()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if keeps and not token.stopping:
            token.stop()
            output.messages.print("Stopping after this step and keeping what was learned; press Ctrl-C again to give up.")
        elif not token.cancelled:
            token.cancel()
        else:
            sys.exit(130)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield token
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
