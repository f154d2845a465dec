"""Use case: photos in, dataset written, a verdict for each photo out."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from facechain_ext.errors import UserInputError
from facechain_ext.faces.dataset import write_dataset
from facechain_ext.faces.prepare import prepare
from facechain_ext.faces.reading import expand
from facechain_ext.faces.types import Preparation, Reason
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.people import kept_photos, read_card, write_card
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.workspace import PersonFolder, Workspace, remove_tree, replaced_folder

NO_PHOTO = {Reason.UNREADABLE, Reason.TOO_LARGE, Reason.DUPLICATE}


class NoUsablePhoto(UserInputError):
    """No photo could be used; ``preparation`` holds the verdicts."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        verdicts = preparation.verdicts
        if len(verdicts) == 1 and verdicts[0].sentences:
            super().__init__(verdicts[0].sentences[0])
        else:
            super().__init__(f"None of the {len(verdicts)} photos can be used. Give one or more that show the person's face.")


def prepare_person(
    request: PrepareRequest, workspace: Workspace, analyzer: FaceAnalyzer, on_progress: ProgressSink, cancel: CancelToken
) -> Preparation:
    """Prepare ``request.sources``, files or folders, or else the photos kept of the person; on any error the earlier dataset stays.

    Raises:
        UserInputError: for a bad name, no photos at all, or ``NoUsablePhoto``.
    """
    folder = workspace.person(request.person)
    card = read_card(folder)
    sources = expand(request.sources) if request.sources else kept_photos(folder)
    if not sources:
        raise UserInputError(f"No photos of '{folder.name}' are kept here. Add some.")
    result = prepare(sources, folder.name, analyzer, request.config, on_progress=on_progress, cancel=cancel)
    if result.dataset is None:
        raise NoUsablePhoto(result)
    cancel.raise_if_cancelled()
    if request.config.keep_photos and request.sources:
        _keep(folder, result)
    write_dataset(folder.dataset, result.dataset, result.verdicts)
    if not request.config.keep_photos:
        remove_tree(folder.photos)
    card.update(trigger=request.config.trigger, subject=request.config.subject)
    write_card(folder, card)
    return result


def _keep(folder: PersonFolder, result: Preparation) -> None:
    """Copy the photos, byte for byte, into the person's folder in place of those kept before; what is no photo is left out."""
    with replaced_folder(folder.photos, "the photos") as target:
        for source, verdict in zip(result.sources, result.verdicts, strict=True):
            unopened = Reason.TOO_MANY in verdict.reasons and verdict.quality == 0
            if not unopened and not NO_PHOTO & set(verdict.reasons):
                shutil.copyfile(source, _free(target / source.name))


def _free(file: Path) -> Path:
    """``file``, or the first numbered name beside it that is not taken."""
    numbered = (file.with_name(f"{file.stem}-{i}{file.suffix}") for i in itertools.count(2))
    return next(name for name in itertools.chain([file], numbered) if not name.exists())
