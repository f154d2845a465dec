"""``people delete`` leaves nothing of a person, and everything of the others."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def two_people(made, generated, person: str, tmp_path: Path):
    """The person with portraits, and somebody else; of two copies outside one was changed since."""
    root = Path(shutil.copytree(generated.root, tmp_path / "workspace"))
    card = root / "people" / person / "person.json"
    copy = tmp_path / "elsewhere" / "sheet.png"
    changed = tmp_path / "elsewhere" / "changed.png"
    copy.parent.mkdir()
    for file in (copy, changed):
        file.write_bytes(generated.outside_files["sheet.png"])
    sha = hashlib.sha256(copy.read_bytes()).hexdigest()
    value = json.loads(card.read_text())
    assert len(value["outside"]) == len(generated.outside_files)
    value["outside"] = [{"file": str(file), "sha256": sha} for file in (copy, changed)]
    card.write_text(json.dumps(value))
    changed.write_bytes(b"somebody's own work by now")
    other = root / "people" / "Charles Babbage"
    shutil.copytree(root / "people" / person / "dataset", other / "dataset")
    (other / "person.json").write_text(json.dumps(value | {"name": "Charles Babbage", "loras": [], "outside": []}))
    return type(made.cli)(root)


def test_nothing_of_the_person_is_left(two_people, person: str, photos, tmp_path: Path) -> None:
    root = two_people.root
    shutil.rmtree(root / "people" / "Charles Babbage")
    marks = [person, person.replace(" ", "_"), *(hashlib.sha256(p.read_bytes()).hexdigest() for p in photos)]
    before = "".join(str(p) for p in root.rglob("*")) + "".join(p.read_bytes().decode("latin-1") for p in root.rglob("*") if p.is_file())
    assert all(mark in before for mark in marks), "else this test looks for the wrong things"

    value = two_people.good("people", "delete", person, "--yes", "--json").json
    assert value["person"] == person
    assert value["deleted"] > 20

    for path in root.rglob("*"):
        text = str(path.relative_to(root)) + (path.read_bytes().decode("latin-1") if path.is_file() else "")
        assert not [mark for mark in marks if mark in text], path
    # How fast trainings run here says nothing about anybody.
    assert [p.name for p in root.rglob("*") if p.is_file()] == ["speeds.json"]
    assert not (tmp_path / "elsewhere" / "sheet.png").exists()
    assert (tmp_path / "elsewhere" / "changed.png").exists()
    assert two_people.good("people", "list", "--json").json == {"people": []}


def test_others_stay_and_no_means_no(two_people, person: str, snapshot) -> None:
    before = snapshot(two_people.root)
    ran = two_people("people", "delete", person)
    assert ran.code != 0
    assert "Traceback" not in ran.err
    assert snapshot(two_people.root) == before
    two_people.good("people", "delete", person, "--yes")
    gone = {k for k in before if k.startswith(f"people/{person}")}
    assert snapshot(two_people.root) == {k: v for k, v in before.items() if k not in gone}
