"""Use case: photos in, dataset written, a verdict for each photo out."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.faces.archives import is_zip, unpack
from facechain_ext.faces.captions import Captioning
from facechain_ext.faces.dataset import write_dataset
from facechain_ext.faces.prepare import Draft, Tagger, judge, look
from facechain_ext.faces.reading import expand
from facechain_ext.faces.types import Dataset, Decisions, PhotoVerdict, Preparation, Reason
from facechain_ext.ports import Captioner, FaceAnalyzer
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.people import kept_photos, read_card, write_card
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.training.latent_names import forget_others
from facechain_ext.workspace import PersonFolder, PrivateFolder, Workspace, remove_tree, replaced_folder, storage_errors

DRAFTS_KEPT = 3
"""People whose last check can still be decided otherwise; each takes some megabytes."""
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
    request: PrepareRequest,
    workspace: Workspace,
    analyzer: FaceAnalyzer,
    drafts: Drafts,
    captioner: Callable[[], Captioner | None],
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> Preparation:
    """Prepare ``request.sources``, files or folders, or else the photos kept of the person; on any error the earlier dataset stays.

    Raises:
        UserInputError: for a bad name, no photos at all, a choice that is not there, or ``NoUsablePhoto``.
    """
    folder = workspace.person(request.person)
    card = read_card(folder)
    given = expand(request.sources) if request.sources else kept_photos(folder)
    if not given:
        raise UserInputError(f"No photos of '{folder.name}' are kept here. Add some.")
    tags = _tagger(request.config, captioner, cancel)
    with _unpacked(given, workspace) as (sources, problems):
        draft = look(sources, folder.name, analyzer, request.config, on_progress=on_progress, cancel=cancel, problems=problems)
        decisions = _chosen(request, draft)
        result = judge(draft, analyzer, decisions, tags)
        drafts.keep(draft, decisions)
        if result.dataset is None:
            raise NoUsablePhoto(result)
        cancel.raise_if_cancelled()
        if request.config.keep_photos and request.sources:
            _keep(folder, result)
    _store(folder, result.dataset, result.verdicts)
    if not request.config.keep_photos:
        remove_tree(folder.photos)
    card.update(trigger=request.config.trigger, subject=request.config.subject)
    write_card(folder, card)
    return result


def decide_person(
    name: str, decisions: Decisions, workspace: Workspace, analyzer: FaceAnalyzer, drafts: Drafts, captioner: Callable[[], Captioner | None]
) -> Preparation:
    """Judge ``name``'s photos of the last check again with the user's ``decisions``, all of them, and replace the dataset.

    Raises:
        UserInputError: when that check is too long ago, for a photo or face it did not see, or ``NoUsablePhoto``.
    """
    folder = workspace.person(name)
    draft = drafts.of(folder.name)
    _check(draft, decisions)
    result = judge(draft, analyzer, decisions, _tagger(draft.config, captioner, CancelToken()))
    if result.dataset is None:
        raise NoUsablePhoto(result)
    _store(folder, result.dataset, result.verdicts)
    drafts.keep(draft, decisions)
    if not folder.card.exists():
        write_card(folder, read_card(folder) | {"trigger": draft.config.trigger, "subject": draft.config.subject})
    return result


def _chosen(request: PrepareRequest, draft: Draft) -> Decisions:
    """The request's choices by the photos' places.

    Raises:
        UserInputError: for a photo or face that is not there.
    """
    faces: dict[int, int | None] = {}
    for name, face in request.chosen.items():
        places = [i for i, seen in enumerate(draft.seen) if seen.file == name]
        if not places:
            raise UserInputError(f"There is no photo '{name}' among those given. Write its name as the verdicts do.")
        # A photo that cannot be used is left out already.
        faces |= {i: face for i in places if face is not None or draft.seen[i].candidates}
    _check(draft, Decisions(faces))
    return Decisions(faces)


def _check(draft: Draft, decisions: Decisions) -> None:
    """See that there is what ``decisions`` names.

    Raises:
        UserInputError: for a photo or face that is not there.
    """
    for index in {*decisions.faces, *decisions.captions}:
        faces = len(draft.seen[index].candidates) if 0 <= index < len(draft.seen) else 0
        wanted = decisions.faces.get(index)
        if faces == 0 or (wanted is not None and not 0 <= wanted < faces):
            raise UserInputError(f"Photo {index + 1} has no such face; faces to choose from: {faces}. Look at its verdict again.")


def _store(folder: PersonFolder, dataset: Dataset, verdicts: Sequence[PhotoVerdict]) -> None:
    """Replace the dataset; nothing of photos that are no longer in it stays."""
    write_dataset(folder.dataset, dataset, verdicts)
    with storage_errors("the deletion"):
        forget_others(folder.latents, [p.image for p in dataset.photos])


def _tagger(config: PrepareConfig, captioner: Callable[[], Captioner | None], cancel: CancelToken) -> Tagger | None:
    """The host's captioner, where the settings want it.

    Raises:
        UserInputError: when there is none.
    """
    if config.captions != Captioning.HOST.value:
        return None
    found = captioner()
    if found is None:
        raise UserInputError(
            "No captioner of the WebUI is installed here (DeepDanbooru or BLIP; the WebUI's Interrogate buttons fetch them). "
            "Choose 'described' captions, which need none."
        )
    return lambda crops: found.tags(crops, cancel)


class Drafts:
    """What was seen in the photos of the last few checks, by person: memory only, so that decisions need no second upload."""

    def __init__(self) -> None:
        self._drafts: dict[str, tuple[Draft, Decisions]] = {}
        self._lock = threading.Lock()

    def keep(self, draft: Draft, decisions: Decisions | None = None) -> None:
        """Remember ``draft`` and what was decided; the oldest of more than ``DRAFTS_KEPT`` people is forgotten."""
        with self._lock:
            self._drafts.pop(draft.person, None)
            self._drafts[draft.person] = draft, decisions or Decisions()
            for old in list(self._drafts)[:-DRAFTS_KEPT]:
                del self._drafts[old]

    def of(self, person: str) -> Draft:
        """The draft of ``person``.

        Raises:
            UserInputError: when there is none.
        """
        with self._lock:
            if person not in self._drafts:
                raise UserInputError(f"The photos of '{person}' were checked too long ago to change a decision. Check them again.")
            return self._drafts[person][0]

    def decisions(self, person: str) -> Decisions:
        """What was decided about ``person``'s photos so far."""
        with self._lock:
            return self._drafts[person][1] if person in self._drafts else Decisions()

    def forget(self, person: str) -> None:
        """Drop what was seen of ``person``."""
        with self._lock:
            self._drafts.pop(person, None)


@contextlib.contextmanager
def _unpacked(given: Sequence[Path], workspace: Workspace) -> Iterator[tuple[list[Path], dict[Path, str]]]:
    """``given`` with the photos of its zip files in their place, and what is wrong with those that cannot be unpacked."""
    archives = [file for file in given if is_zip(file)]
    if not archives:
        yield list(given), {}
        return
    folder = PrivateFolder(workspace)
    try:
        sources: list[Path] = []
        problems: dict[Path, str] = {}
        for file in given:
            if file not in archives:
                sources.append(file)
                continue
            try:
                with storage_errors("the photos"):
                    sources += unpack(file, folder.path / f"zip-{len(sources)}")
            except FileFormatError as error:
                sources.append(file)
                problems[file] = str(error)
        yield sources, problems
    finally:
        folder.remove()
        with contextlib.suppress(OSError):
            workspace.root.rmdir()  # only when it was made for this


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
