"""Every path we write: one folder per person, atomic writes, safe names, deletion that leaves nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import unicodedata
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from facechain_ext.errors import FileFormatError, HostError, StorageError, UserInputError

RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))}
NAME_LENGTH = 64
PRIVATE_PREFIX = ".upload-"
LEFT_BEHIND_S = 24 * 3600
"""A private folder this old belongs to a process that was killed."""
DOOMED = ".deleting-"
"""Before the name of a folder that is being deleted."""


def person_name(name: str) -> str:
    """Return ``name`` in the form we store it (NFC, trimmed), fit to be a folder name on every system.

    Raises:
        UserInputError: for a path, a reserved device name, control characters or a length outside 1..64.
    """
    clean = unicodedata.normalize("NFC", name).strip()
    if not clean or len(clean.encode()) > 2 * NAME_LENGTH or len(clean) > NAME_LENGTH:
        raise UserInputError(f"A person's name must have 1 to {NAME_LENGTH} characters. Choose another name.")
    if clean.split(".")[0].rstrip().casefold() in RESERVED:
        raise UserInputError(f"'{clean}' is a name that Windows keeps for a device. Choose another name.")
    letters = all(c in " -_." or unicodedata.category(c)[0] in "LMN" for c in clean)
    if not letters or clean[0] in ".-" or clean[-1] in ". ":
        raise UserInputError(
            f"{clean!r} cannot be a person's name: use letters, digits, spaces, '-' and '_', and start with a letter or digit."
        )
    return clean


def lora_name(person: str, suffix: str = "") -> str:
    """A LoRA file stem for ``person`` that prompt tags ``<lora:NAME:1>`` can hold."""
    return re.sub(r"[^\w-]+", "_", person).strip("_") + suffix


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn a full disk or a read-only folder into ``StorageError``; ``what`` completes "could not be saved"."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError(
                f"The disk is full, so {what} could not be saved. Free some space and run this again; nothing was half written."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise StorageError(f"The folder for {what} cannot be written. Choose another with --workspace or --out.") from error
        raise


@contextlib.contextmanager
def atomic_path(target: Path, what: str = "a file") -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that replaces it when the block ends well, and vanishes when not."""
    with storage_errors(what), _folder_made(target.parent):
        handle, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _folder_made(folder: Path) -> Iterator[None]:
    """Make ``folder`` and its parents; when the block fails, those that were new and are empty go again."""
    new = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for made in new:
            with contextlib.suppress(OSError):
                made.rmdir()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(target: Path, data: bytes, what: str = "a file") -> None:
    """Write ``data`` to ``target``, whole or not at all."""
    with atomic_path(target, what) as temporary:
        temporary.write_bytes(data)


def write_json(target: Path, value: Any, what: str = "a file") -> None:
    """Write ``value`` as UTF-8 JSON, whole or not at all."""
    write_bytes(target, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode(), what)


def read_json(source: Path, schema: int) -> dict[str, Any]:
    """Read one of our JSON objects.

    Raises:
        FileFormatError: when it is not JSON, not an object, or of a schema newer than ``schema``.
    """
    try:
        value = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"{source.name} cannot be read as JSON: {type(error).__name__}. Restore it from a backup or make it anew."
        ) from error
    if not isinstance(value, dict) or not isinstance(value.get("schema"), int):
        raise FileFormatError(f"{source.name} is not one of FaceChain's files (no schema number).")
    if value["schema"] > schema:
        raise FileFormatError(
            f"{source.name} was written by a newer FaceChain (schema {value['schema']}, this one knows {schema}). Update FaceChain."
        )
    return value


@contextlib.contextmanager
def replaced_folder(target: Path, what: str) -> Iterator[Path]:
    """Yield an empty folder that takes ``target``'s place when the block ends well; on an error ``target`` stays as it was."""
    with storage_errors(what), _folder_made(target.parent):
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-new-", dir=target.parent))
        old = fresh.with_name(fresh.name.replace("-new-", "-old-"))
        try:
            yield fresh
            os.chmod(fresh, 0o777 & ~_umask())
            if target.exists():
                os.replace(target, old)
            os.replace(fresh, target)
        except BaseException:
            if old.exists() and not target.exists():
                os.replace(old, target)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def added_files(target: Path, what: str) -> Iterator[Path]:
    """Yield an empty folder whose files move into ``target`` when the block ends well; on an error ``target`` gets none of them."""
    with storage_errors(what), _folder_made(target):
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=target))
        try:
            yield fresh
            for file in sorted(fresh.iterdir()):
                os.replace(file, target / file.name)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def held(file: Path, sentence: str) -> Iterator[None]:
    """Hold the lock ``file`` meanwhile, against other threads and processes; it ends with the process, however that ends.

    Raises:
        HostError: with ``sentence`` when somebody else holds it.
    """
    with storage_errors("the lock"):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = file.open("a+b")
    with handle:
        try:
            _lock(handle)
        except OSError as error:
            raise HostError(sentence) from error
        yield


def _lock(handle: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def default_root() -> Path:
    """``FACECHAIN_HOME``, else the system's folder for a user's data."""
    if os.environ.get("FACECHAIN_HOME"):
        return Path(os.environ["FACECHAIN_HOME"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "FaceChain"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "FaceChain"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "facechain"


class PersonFolder:
    """Where one person's data lies; nothing about the person is kept outside but what ``outside`` lists."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.root = root

    @property
    def card(self) -> Path:
        """``person.json``: trigger, words, LoRA in use, copies outside."""
        return self.root / "person.json"

    @property
    def dataset(self) -> Path:
        """Crops, masks, captions and the manifest."""
        return self.root / "dataset"

    @property
    def photos(self) -> Path:
        """The photos as they were given, where the user keeps them."""
        return self.root / "photos"

    @property
    def training(self) -> Path:
        """The resumable state, log and previews of the latest training."""
        return self.root / "training"

    @property
    def latents(self) -> Path:
        """The photos as the checkpoint's autoencoder sees them, kept for the next training."""
        return self.root / "latents"

    @property
    def class_images(self) -> Path:
        """Pictures of the class word, for prior preservation: what the checkpoint makes of it, nobody's face."""
        return self.root / "class-images"

    @property
    def loras(self) -> Path:
        """Finished face LoRAs."""
        return self.root / "loras"

    @property
    def portraits(self) -> Path:
        """Generated portraits, one folder a run."""
        return self.root / "portraits"

    def exists(self) -> bool:
        """True once something of this person was stored."""
        return self.root.is_dir()


class Workspace:
    """The folder everything we keep lives in; making the object writes nothing."""

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root).expanduser().resolve() if root else default_root().expanduser().resolve()

    @property
    def people_root(self) -> Path:
        """One folder a person."""
        return self.root / "people"

    @property
    def packs(self) -> Path:
        """Face model packs the user installed."""
        return self.root / "models" / "packs"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints the user put here."""
        return self.root / "models" / "checkpoints"

    @property
    def loras(self) -> Path:
        """LoRAs the user put here for styles; in a WebUI its own folder comes first."""
        return self.root / "models" / "loras"

    @property
    def styles(self) -> Path:
        """The user's own styles."""
        return self.root / "styles"

    @property
    def speeds(self) -> Path:
        """How fast trainings ran here."""
        return self.root / "speeds.json"

    def person(self, name: str) -> PersonFolder:
        """The folder of ``name``, existing or not; another spelling of an existing name finds that person.

        Raises:
            UserInputError: when the name cannot be a folder.
        """
        clean = person_name(name)
        for known in self.people():
            if known.casefold() == clean.casefold():
                return PersonFolder(self.people_root / known, known)
        return PersonFolder(self.people_root / clean, clean)

    def existing_person(self, name: str) -> PersonFolder:
        """As ``person``, but it must exist.

        Raises:
            UserInputError: naming the people there are.
        """
        folder = self.person(name)
        if not folder.exists():
            known = self.people()
            there = f"Known people: {', '.join(known[:10])}." if known else "Prepare their photos first."
            raise UserInputError(f"There is no person called '{folder.name}' here. {there}")
        return folder

    def people(self) -> list[str]:
        """Names of everyone stored, in order."""
        if not self.people_root.is_dir():
            return []
        return sorted(p.name for p in self.people_root.iterdir() if p.is_dir() and not p.name.startswith("."))


def remove_tree(folder: Path) -> int:
    """Delete ``folder`` with all it holds; return the number of files deleted.

    The folder is renamed out of the way first, so that a crash half way leaves no half person behind; what an earlier crash left goes too.

    Raises:
        StorageError: when something could not be deleted; it names how much is left.
    """
    if not folder.exists():
        return 0
    with storage_errors("the deletion"):
        os.replace(folder, folder.with_name(f"{DOOMED}{folder.name}-{secrets.token_hex(4)}"))
    count = 0
    left: list[str] = []
    for doomed in folder.parent.glob(f"{DOOMED}*"):
        count += sum(1 for p in doomed.rglob("*") if p.is_file())
        shutil.rmtree(doomed, onerror=lambda _function, path, _info: left.append(path))
    left = [path for path in left if os.path.lexists(path)]
    if left:
        raise StorageError(f"{len(left)} files could not be deleted. Close programs that use them and delete again.")
    return count


class PrivateFolder:
    """A folder nobody else may read, gone when ``remove`` is called, when it is forgotten, and when the program ends."""

    def __init__(self, workspace: Workspace) -> None:
        with storage_errors("the upload"):
            workspace.root.mkdir(parents=True, exist_ok=True)
            _sweep(workspace.root)
            # mkdtemp gives it to this user alone.
            self.path = Path(tempfile.mkdtemp(prefix=PRIVATE_PREFIX, dir=workspace.root))
        self._gone = weakref.finalize(self, shutil.rmtree, str(self.path), True)

    def remove(self) -> None:
        """Delete it with all it holds; the second time does nothing."""
        self._gone()


def _sweep(root: Path) -> None:
    """Remove what a killed process left."""
    for old in root.glob(f"{PRIVATE_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > LEFT_BEHIND_S:
                shutil.rmtree(old, ignore_errors=True)


def safe_file_name(name: str, number: int) -> str:
    """The last part of ``name`` with nothing in it that a file system takes for more than a name."""
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r"[^\w .()+-]", "_", last).strip(" .")[-60:].strip(" .")
    if not clean:
        return f"photo-{number}"
    return f"_{clean}" if clean.split(".")[0].strip().casefold() in RESERVED else clean
