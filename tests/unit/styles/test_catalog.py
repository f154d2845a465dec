"""The style catalogue: every shipped style is valid, every mistake in a file is named, the user's own styles win."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.lora.files import read_lora
from facechain_ext.ports import Family
from facechain_ext.styles.catalog import PERSON, SHIPPED, Style, find_style, load_styles, read_style

GOOD: dict[str, Any] = {"schema": 1, "id": "rain", "name": "Rain", "category": "outdoors", "prompt": "photo of {person} in the rain"}


def written(folder: Path, filename: str = "rain.json", /, **changes: Any) -> Path:
    """A style file; None as ``...`` leaves a key out."""
    file = folder / filename
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...}, ensure_ascii=False), encoding="utf-8")
    return file


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.json")), ids=lambda f: f.stem)
def test_a_shipped_style_is_valid_and_complete(file):
    style = read_style(file)
    assert style.id == file.stem, "found by the name people see in the folder"
    assert style.prompt.count(PERSON) == 1
    assert style.licence
    assert style.source
    if style.lora is not None:
        assert style.lora_for == "tiny-faces"
        assert style.lora_file is not None
        assert style.lora_file.parent == SHIPPED / "loras"
        assert read_lora(style.lora_file).family is Family(style.family)
        assert style.lora_file.stat().st_size < 2 * 2**20


def test_the_shipped_catalogue_has_no_doubles():
    styles = load_styles()
    assert len(styles) == len(list(SHIPPED.glob("*.json"))) >= 10
    assert len({s.id for s in styles}) == len({s.name.casefold() for s in styles}) == len(styles)
    assert sum(s.lora is not None for s in styles) >= 2


def test_a_file_in_full_comes_back(tmp_path):
    wanted = {"negative": "sun", "lora": "wet", "lora_for": "sd15", "weight": 1, "family": "sd1", "licence": "CC0", "source": "me"}
    style = read_style(written(tmp_path, **wanted))
    assert {k: getattr(style, k) for k in wanted} == wanted
    assert style.folder == tmp_path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": ...}, "'id' must be text"),
        ({"id": "Rain Storm"}, "'id' must be lower-case"),
        ({"id": "../rain"}, "'id' must be lower-case"),
        ({"id": "rain\n"}, "'id' must be lower-case"),
        ({"name": "  "}, "'name' must be text"),
        ({"category": 3}, "'category' must be text"),
        ({"prompt": "rain"}, "exactly once"),
        ({"prompt": "{person} and {person}"}, "exactly once"),
        ({"negative": None}, "'negative' must be text"),
        ({"lora": 5}, "'lora' must be text or null"),
        ({"lora": "../../wet"}, "without folders"),
        ({"lora": "..\\wet"}, "without folders"),
        ({"lora": ""}, "without folders"),
        ({"lora_for": ["a"]}, "'lora_for' must be text or null"),
        ({"weight": 2.1}, "'weight' must be a number between 0 and 2"),
        ({"weight": -0.1}, "'weight'"),
        ({"weight": True}, "'weight'"),
        ({"weight": float("nan")}, "'weight'"),
        ({"weight": "1"}, "'weight'"),
        ({"promt": "x"}, "'promt' is not known"),
        ({"schema": 2}, "newer FaceChain"),
        ({"schema": ...}, "no schema number"),
    ],
)
def test_a_mistake_is_named_with_its_file(changes, said, tmp_path):
    with pytest.raises(FileFormatError) as caught:
        read_style(written(tmp_path, **changes))
    assert said in str(caught.value)
    assert "rain.json" in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path):
    file = written(tmp_path, id="No Good", name="", prompt="nobody", lora="a/b", weight=9, colour="red")
    with pytest.raises(FileFormatError) as caught:
        read_style(file)
    for said in ("'id'", "'name'", "'prompt'", "'lora'", "'weight'", "'colour'"):
        assert said in str(caught.value)


def test_what_is_no_json_is_refused_by_name(tmp_path):
    for content in (b"{", b"\xff\xfe", b"[1]", b'"x"'):
        (tmp_path / "odd.json").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"odd\.json"):
            read_style(tmp_path / "odd.json")


def test_an_own_style_is_added_and_replaces_a_shipped_one(tmp_path):
    written(tmp_path)
    written(tmp_path, "mine.json", id="plain", name="Mine", prompt="my {person}")
    shipped, both = load_styles(), load_styles(tmp_path)
    assert len(both) == len(shipped) + 1
    assert find_style(both, "plain").prompt == "my {person}"
    assert find_style(both, "plain").folder == tmp_path
    assert find_style(shipped, "plain").folder == SHIPPED
    assert find_style(both, "rain").name == "Rain"
    assert load_styles(tmp_path / "nothing") == shipped


def test_the_benchs_statistic_beside_a_lora_is_not_taken_for_a_style(tmp_path):
    written(tmp_path)
    (tmp_path / "wet.score.json").write_text('{"schema": 1, "direction": [], "offset": 0}')
    assert [s.id for s in load_styles(tmp_path) if s.folder == tmp_path] == ["rain"]


def test_styles_are_found_by_id_and_name_and_missing_ones_listed():
    styles = [Style("rain", "Heavy Rain", "x", "{person}"), Style("sun", "Sun", "x", "{person}")]
    assert find_style(styles, "RAIN") is find_style(styles, "heavy rain") is styles[0]
    with pytest.raises(UserInputError, match=r"no style 'snow'.*rain, sun"):
        find_style(styles, "snow")


def test_where_the_lora_lies(tmp_path):
    style = read_style(written(tmp_path, lora="wet"))
    assert style.lora_file == tmp_path / "wet.safetensors"
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "wet.safetensors").touch()
    assert style.lora_file == tmp_path / "loras" / "wet.safetensors"
    assert read_style(written(tmp_path)).lora_file is None
    assert Style("a", "A", "x", "{person}", lora="wet").lora_file is None


def test_on_which_checkpoint_a_style_acts():
    prompt_only = Style("a", "A", "x", "{person}", lora_for="tiny-faces")
    bound = Style("b", "B", "x", "{person}", lora="wet", lora_for="tiny-faces")
    free = Style("c", "C", "x", "{person}", lora="wet")
    assert [s.acts_on("tiny-faces") for s in (prompt_only, bound, free)] == [False, True, True]
    assert [s.acts_on("sd15") for s in (prompt_only, bound, free)] == [False, False, True]


def test_one_broken_file_does_not_take_the_others_away(tmp_path):
    good = {"schema": 1, "id": "mine", "name": "Mine", "category": "own", "prompt": "{person} in the rain"}
    (tmp_path / "mine.json").write_text(json.dumps(good))
    (tmp_path / "broken.json").write_text("{")
    problems = []
    found = load_styles(tmp_path, problems)
    assert find_style(found, "mine").name == "Mine"
    assert find_style(found, "plain")
    assert len(problems) == 1
    assert "broken.json" in problems[0]
