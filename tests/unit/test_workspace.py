"""Names, atomic writes and deletion."""

import errno
import json
import os
import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.errors import FileFormatError, StorageError, UserInputError
from facechain_ext.workspace import (
    Workspace,
    atomic_path,
    lora_name,
    person_name,
    read_json,
    remove_tree,
    replaced_folder,
    storage_errors,
    write_bytes,
    write_json,
)


@pytest.mark.parametrize("good", ["Ada", "Zoë Müller", "李雷", "anna-2", "J. R. Smith", "x_1", "अनीता"])
def test_names_people_have_are_taken(good):
    assert person_name(f" {good} ") == good


@pytest.mark.parametrize(
    "bad",
    [
        "../../x",
        "CON",
        "con.txt",
        "nul",
        "a/b",
        "a\\b",
        ".hidden",
        "-rf",
        "ends.",
        "",
        "   ",
        "x" * 65,
        "a\x00b",
        "a\nb",
        "a:b",
        "LPT1.png",
        "a*",
    ],
)
def test_names_that_are_no_folder_are_refused(bad):
    with pytest.raises(UserInputError):
        person_name(bad)


@given(st.text(max_size=80))
def test_no_accepted_name_leaves_the_people_folder(tmp_path_factory, name):
    workspace = Workspace("/somewhere/home")
    try:
        folder = workspace.person(name).root
    except UserInputError:
        return
    assert folder.parent == workspace.people_root
    assert folder.name not in ("", ".", "..")
    assert lora_name(folder.name) == "" or not set(lora_name(folder.name)) & set("<>:/\\. ")


def test_another_spelling_finds_the_same_person(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.person("Ada").root.mkdir(parents=True)
    assert workspace.person("ADA").name == "Ada"
    with pytest.raises(UserInputError, match="Ada"):
        workspace.existing_person("Bob")


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "card.json"
    write_json(target, {"schema": 1, "n": 1})
    with pytest.raises(FileNotFoundError), atomic_path(target) as temporary:
        temporary.with_name("missing").rename(temporary)
    assert json.loads(target.read_text())["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["card.json"]


def test_a_failed_replacement_keeps_the_old_folder(tmp_path):
    target = tmp_path / "dataset"
    target.mkdir()
    (target / "a").write_text("old")
    with pytest.raises(FileNotFoundError), replaced_folder(target, "it") as fresh:
        (fresh / "missing").rename(fresh / "a")
    assert (target / "a").read_text() == "old"
    with replaced_folder(target, "it") as fresh:
        (fresh / "b").write_text("new")
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]


def test_a_full_disk_becomes_a_sentence(tmp_path):
    program = (
        "import resource, signal, pathlib, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from facechain_ext.workspace import write_bytes; from facechain_ext.errors import StorageError\n"
        "try: write_bytes(pathlib.Path(sys.argv[1]), b'x' * 5000, 'the LoRA')\n"
        "except StorageError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.bin")], capture_output=True, text=True, check=True).stdout
    assert "disk is full" in said
    assert "the LoRA" in said
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_other_operating_system_errors_pass_through():
    with pytest.raises(StorageError), storage_errors("it"):
        raise OSError(errno.EROFS, "read only")
    with pytest.raises(ConnectionError), storage_errors("it"):
        raise ConnectionError


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"no": "schema"}', '{"schema": 99}'])
def test_damaged_and_newer_files_are_refused(tmp_path, content):
    file = tmp_path / "person.json"
    file.write_text(content)
    with pytest.raises(FileFormatError, match=r"person\.json"):
        read_json(file, 1)


def test_deletion_leaves_nothing(tmp_path):
    root = tmp_path / "people" / "Ada"
    write_bytes(root / "dataset" / "1.png", b"x")
    write_bytes(root / "loras" / "ada.safetensors", b"y")
    assert remove_tree(root) == 2
    assert list((tmp_path / "people").iterdir()) == []
    assert remove_tree(root) == 0


def test_making_a_workspace_writes_nothing(tmp_path):
    workspace = Workspace(tmp_path / "home")
    assert workspace.people() == []
    assert not (tmp_path / "home").exists()
    assert os.path.isabs(Workspace("relative").root)
