"""Every error this package raises on purpose.

    FaceChainError                  status  exit code
    ├── UserInputError                 422     2   photos, names, files or settings the user can change
    │   ├── ConfigError                422     2   one or more settings out of range, all of them listed
    │   └── FileFormatError            422     2   a checkpoint, LoRA or dataset file that is not what it should be
    ├── WeightsMissing                 424     2   a model that must be installed first
    ├── HostError                      409     1   the WebUI or diffusers is in a state we cannot work with
    ├── TrainingError                  500     1   training failed although the input was fine
    ├── StorageError                   507     2   the disk is full or a folder cannot be written
    └── Cancelled                      499     130 the user stopped the work
        └── Paused                     499     130 for now: it can go on from there

A message is one or two sentences: what happened, and what to do. Foreign exceptions are translated where they enter.
"""

from __future__ import annotations

from collections.abc import Sequence


class FaceChainError(Exception):
    """Base of all deliberate errors; ``status`` is the HTTP status and ``exit_code`` the CLI's."""

    status: int = 500
    exit_code: int = 1


class UserInputError(FaceChainError):
    """Something the user gave cannot be used."""

    status = 422
    exit_code = 2


class ConfigError(UserInputError):
    """Settings that are unknown or out of range; ``problems`` holds one sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(" ".join(self.problems))


class FileFormatError(UserInputError):
    """A file whose content is not what its use requires."""


class WeightsMissing(FaceChainError):
    """Model weights that must be installed first."""

    status = 424
    exit_code = 2


class HostError(FaceChainError):
    """The host (WebUI or diffusers) cannot do what was asked."""

    status = 409


class TrainingError(FaceChainError):
    """Training failed although its input was fine."""


class StorageError(FaceChainError):
    """The disk is full or a folder cannot be written."""

    status = 507
    exit_code = 2


class Cancelled(FaceChainError):
    """The user stopped the work and wanted nothing kept."""

    status = 499
    exit_code = 130


class Paused(Cancelled):
    """The user stopped the work for now; where it stands is saved, and it can go on from there."""
