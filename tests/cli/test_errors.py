"""Mistakes around the commands: what reaches stdout with ``--json``, near names, questions nobody can answer, places that cannot be written."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import termios
from pathlib import Path

import pytest

from tests.cli.test_bad_input import files_only, refused


@pytest.mark.parametrize(
    "words",
    [
        ("people", "show", "Grace Hopper"),
        ("people", "export", "Grace Hopper"),
        ("train", "--person", "Ada Lovelace", "--steps", "-4"),
        ("train", "--person", "Ada Lovelace", "--base", "nonsuch"),
        ("generate", "--person", "Ada Lovelace", "--style", "nonsuch"),
        ("generate", "--person", "Ada Lovelace", "--steps", "-4"),
        ("generate", "--person", "Ada Lovelace", "--seed", "-1"),
        ("prepare", "nowhere.jpg", "--person", "Ada Lovelace"),
        ("prepare", "nowhere.jpg", "--person", "../../x"),
    ],
    ids=" ".join,
)
def test_a_refusal_leaves_stdout_empty(words: tuple[str, ...], made, snapshot) -> None:
    before = snapshot(made.root)
    ran = made.cli(*words, "--json")
    refused(ran)
    assert ran.out == ""
    assert snapshot(made.root) == before


@pytest.mark.parametrize(("words", "said"), [(("nonsuch",), "nonsuch"), (("train",), "--person"), (("train", "--nonsuch"), "--nonsuch")])
def test_commands_that_do_not_exist_are_the_users_mistake(words: tuple[str, ...], said: str, empty) -> None:
    ran = empty(*words)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_misspelt_style_names_the_near_one(made, person: str) -> None:
    refused(made.cli("generate", "--person", person, "--style", "pencil-sketsch"), "did you mean 'pencil-sketch'")


def test_without_a_terminal_deleting_needs_yes(made, person: str, snapshot) -> None:
    before = snapshot(made.root)
    words = made.cli.command("people", "delete", person, "--json")
    ran = subprocess.run(words, input="y\n", capture_output=True, text=True, env=made.cli.environment(), check=False, timeout=120)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--yes" in ran.stderr
    assert snapshot(made.root) == before


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 2), (b"\x03", 2), (b"y\n", 0)], ids=["no", "Ctrl-C", "yes"])
def test_at_a_terminal_deleting_is_asked_for(answer: bytes, code: int, copied, person: str, snapshot) -> None:
    before = snapshot(copied.root)
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            copied.command("people", "delete", person),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=copied.environment(),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        asked = b""
        assert process.stderr is not None
        while b"[y/N]" not in asked and process.poll() is None:
            asked += os.read(process.stderr.fileno(), 4096)
        os.write(ours, answer)
        process.communicate(timeout=120)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"for good?" in asked
    assert process.returncode == code
    assert (snapshot(copied.root) == before) == (code != 0)


def test_an_export_into_a_folder_gets_the_persons_name(made, person: str, tmp_path: Path) -> None:
    value = made.cli.good("people", "export", person, "--out", tmp_path, "--json").json
    assert value["file"] == str(tmp_path / f"{person}.zip")
    assert Path(value["file"]).is_file()


def test_places_that_cannot_be_written(copied, person: str, tmp_path: Path, snapshot) -> None:
    before = files_only(snapshot(copied.root))
    (tmp_path / "file").write_text("in the way")
    for words in (
        ("people", "export", person, "--out", tmp_path / "file" / "x.zip"),
        ("generate", "--person", person, "--count", 1, "--steps", 1, "--size", "64x64", "--out", tmp_path / "file"),
    ):
        refused(copied(*words), "cannot be written")
    assert (tmp_path / "file").read_text() == "in the way"
    assert files_only(snapshot(copied.root)) == before


def test_a_damaged_card_is_no_prison(copied, person: str) -> None:
    (copied.root / "people" / person / "person.json").write_text("{")
    ran = copied.good("people", "list", "--json")
    assert [p["name"] for p in ran.json["people"]] == [person]
    assert "damaged" in ran.err
    refused(copied("generate", "--person", person, "--count", 1), "person.json")
    copied.good("people", "delete", person, "--yes")
    assert json.loads(copied.good("people", "list", "--json").out) == {"people": []}


def test_the_option_goes_before_the_environment(made, person: str, tmp_path: Path) -> None:
    words = made.cli.command("people", "list", "--json")
    home = made.cli.environment(FACECHAIN_HOME=str(tmp_path / "other"))
    ran = subprocess.run(words, capture_output=True, text=True, env=home, check=True, timeout=120)
    assert [p["name"] for p in json.loads(ran.stdout)["people"]] == [person]
    assert not (tmp_path / "other").exists()


def test_words_for_people_go_to_stdout_without_json(made, person: str) -> None:
    assert person in made.cli.good("people", "list").out
    shown = made.cli.good("people", "show", person).out
    assert "5 prepared photos" in shown
    assert "4 steps on tiny-faces" in shown
    assert "pencil-sketch" in made.cli.good("styles", "list").out
    assert "tiny-faces (default)" in made.cli.good("models", "list").out
