"""The checkpoints standalone FaceChain offers: the embedded one, and files the user put into the workspace or names by path."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.hosts.standalone.inspection import inspect
from facechain_ext.hosts.standalone.prediction import parameterisation
from facechain_ext.hosts.standalone.sidecar import Sidecar, Stamp, read_sidecar, stamp_of
from facechain_ext.ports import Footprint
from facechain_ext.services.requests import CheckpointChoice
from facechain_ext.workspace import Workspace

if TYPE_CHECKING:
    from facechain_ext.hosts.standalone.host import StandaloneHost

SHIPPED = Path(__file__).parents[2] / "data" / "checkpoints"


class StandaloneCheckpoints:
    """Implements ``Checkpoints``; keeps one checkpoint in memory at a time."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._open: tuple[Stamp, StandaloneHost] | None = None
        self._lock = threading.Lock()

    def choices(self) -> Sequence[CheckpointChoice]:
        """The user's checkpoints and the embedded one, which is the default."""
        shipped = sorted(SHIPPED.glob("*.safetensors"))
        own = sorted(self._workspace.checkpoints.glob("*.safetensors")) if self._workspace.checkpoints.is_dir() else []
        return [_choice(file, default=i == 0) for i, file in enumerate([*shipped, *own])]

    def find(self, choice: str | None) -> CheckpointChoice:
        """The checkpoint called ``choice``, or at that path; None is the default.

        Raises:
            UserInputError: when there is no such name.
            FileFormatError: when the file is not a checkpoint we can work with.
        """
        known = self.choices()
        if choice is None:
            if not known:
                raise UserInputError("There is no checkpoint. Name a .safetensors file with --base.")
            found = known[0]
        else:
            named = next((c for c in known if choice == c.name), None)
            looks_like_path = Path(choice).suffix != "" or "/" in choice or "\\" in choice
            if named is None and not looks_like_path:
                raise UserInputError(
                    f"There is no checkpoint called '{choice}'. Known: {', '.join(c.name for c in known)}; or give the path of a .safetensors file."
                )
            found = named or _choice(Path(choice).expanduser(), default=False)
        inspect(found.path)
        return found

    def footprint(self, choice: str | None) -> Footprint:
        """See ``TrainHost.footprint``; of a checkpoint that need not be open."""
        from facechain_ext.hosts.standalone.footprint import footprint

        found = self.find(choice)
        with self._lock:
            opened = self._open[1] if self._open is not None and self._open[0] == stamp_of(found.path) else None
        return opened.footprint() if opened else footprint(found.path, read_sidecar(found.path), loaded=False)

    def gpus(self) -> int:
        """NVIDIA's, as the driver counts them: torch would take seconds to load."""
        try:
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=False).stdout
        except (OSError, subprocess.SubprocessError):
            return 0
        return sum(line.startswith("GPU ") for line in listed.splitlines())

    def open(self, choice: str | None) -> StandaloneHost:
        """The host of a checkpoint; the one opened before is dropped when it is another, or when its file was replaced since."""
        from facechain_ext.hosts.standalone.host import StandaloneHost

        path = self.find(choice).path.resolve()
        with self._lock:
            if self._open is None or self._open[0] != stamp_of(path):
                self._open = None
                self._open = (stamp_of(path), StandaloneHost(path))
            return self._open[1]


def _choice(file: Path, *, default: bool) -> CheckpointChoice:
    sidecar = read_sidecar(file)
    return CheckpointChoice(
        file.stem, file, sidecar.note or _said(file, sidecar), default, sidecar.train, sidecar.portrait, sidecar.prepare
    )


def _said(file: Path, sidecar: Sidecar) -> str:
    """What kind of checkpoint ``file`` is, or why it is none."""
    try:
        family, _ = inspect(file)
        return parameterisation(file, family, sidecar).sentence(family)
    except FileFormatError as error:
        return str(error)
