"""Use case: photos in, dataset written, a verdict for each photo out."""

from __future__ import annotations

from facechain_ext.errors import UserInputError
from facechain_ext.faces.dataset import write_dataset
from facechain_ext.faces.prepare import prepare
from facechain_ext.faces.reading import expand
from facechain_ext.faces.types import Preparation
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.people import read_card, write_card
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.workspace import Workspace


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
    """Prepare ``request.sources``, files or folders, and replace the person's dataset; on any error the earlier dataset stays.

    Raises:
        UserInputError: for a bad name, no photos at all, or ``NoUsablePhoto``.
    """
    folder = workspace.person(request.person)
    card = read_card(folder)
    result = prepare(expand(request.sources), folder.name, analyzer, request.config, on_progress=on_progress, cancel=cancel)
    if result.dataset is None:
        raise NoUsablePhoto(result)
    cancel.raise_if_cancelled()
    write_dataset(folder.dataset, result.dataset, result.verdicts)
    card.update(trigger=request.config.trigger, subject=request.config.subject)
    write_card(folder, card)
    return result
