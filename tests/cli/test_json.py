"""``--json``: one object with the promised keys on stdout and nothing else there; what ``generate`` leaves."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open


def test_prepare(made, person: str) -> None:
    value = made.prepared.json
    assert value["person"] == person
    assert value["accepted"] == 5
    assert [p["file"] for p in value["photos"]] == ["1.pgm", "2.pgm", "3.pgm", "4.pgm", "5.pgm"]
    for photo in value["photos"]:
        assert photo["accepted"] is True
        assert photo["reasons"] == ["grey"]  # ORL is black and white: said, and taken
        assert 0 < photo["quality"] <= 1
    assert "5 of 5 photos can be used." in made.prepared.err


def test_prepare_takes_a_folder_and_judges_each_photo(empty, tmp_path: Path, photos) -> None:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    Image.open(photos[0]).save(folder / "first.png")
    Image.open(photos[1]).save(folder / "more" / "second.jpg", quality=95)
    Image.new("RGB", (200, 200), "teal").save(folder / "wall.png")
    (folder / "letter.jpg").write_text("not a picture")
    (folder / "notes.txt").write_text("not even named like one")
    value = empty.good("prepare", folder, "--person", "Zoë 李", "--json").json
    assert value["person"] == "Zoë 李"
    assert value["accepted"] == 2
    found = {p["file"]: (p["accepted"], p["reasons"]) for p in value["photos"]}
    assert found == {
        "first.png": (True, ["grey"]),
        "second.jpg": (True, ["grey"]),
        "wall.png": (False, ["no-face"]),
        "letter.jpg": (False, ["unreadable"]),
    }
    assert all(len(p["sentences"]) == len(p["reasons"]) for p in value["photos"])


def test_a_face_is_chosen_and_a_photo_left_out(empty, tmp_path: Path, photos) -> None:
    couple = Image.new("L", (230, 112), 90)
    couple.paste(Image.open(photos[0]), (0, 0))
    couple.paste(Image.open(photos[0].parents[1] / "s20" / "1.pgm"), (130, 0))
    couple.save(tmp_path / "a=b.png")
    words = ("prepare", tmp_path / "a=b.png", *photos[1:4], "--person", "Zoë")
    by_rules = empty.good(*words, "--json").json["photos"][0]
    chosen_by_rules = min(by_rules["faces"], key=lambda f: f["box"][0])
    assert (chosen_by_rules["place"], chosen_by_rules["taken"]) == ("on the left", True)
    other = next(f["number"] for f in by_rules["faces"] if not f["taken"])
    chosen = empty.good(*words, "--face", f"a=b.png={other}", "--leave-out", photos[1].name, "--json").json["photos"]
    assert [p["reasons"][0] for p in chosen[:2]] == ["chosen", "left-out"]
    assert [f["number"] for f in chosen[0]["faces"] if f["taken"]] == [other]
    for wrong in (["--face", "a=b.png=9"], ["--face", "nobody.png=1"], ["--face", "a=b.png"], ["--leave-out", "nobody.png"]):
        assert empty(*words, *wrong).code == 2


def test_the_framing_decides_how_much_is_shown(empty, tmp_path: Path, photos) -> None:
    # A face with room around it; ORL alone is framed too tightly to choose.
    room = Image.new("L", (600, 600), 90)
    room.paste(Image.open(photos[0]).resize((184, 224)), (208, 180))
    room.save(tmp_path / "room.png")
    shares = []
    for framing in ("Close-up", "facechain"):
        name = f"Ada {framing}"
        empty.good("prepare", tmp_path / "room.png", "--person", name, "--framing", framing, "--resolution", "64", "--json")
        (mask,) = (empty.root / "people" / name / "dataset" / "masks").iterdir()
        shares.append(np.asarray(Image.open(mask)).mean())
    assert shares[0] / shares[1] == pytest.approx((3.286 / 1.5) ** 2, rel=0.2)


def test_train(made, person: str) -> None:
    value = made.trained.json
    assert {"person", "lora", "steps", "seconds", "loss", "likeness"} <= set(value)
    assert (value["person"], value["steps"], value["likeness"]) == (person, 4, None)
    assert value["seconds"] > 0
    assert 0 < value["loss"] < 10
    assert "Trained 4 steps" in made.trained.err


def test_the_lora_tells_nothing_about_the_photos(made, photos) -> None:
    file = Path(made.trained.json["lora"])
    with safe_open(file, "pt") as source:
        header = source.metadata()
    assert header["ss_base_model_version"] == "sd_v1"
    assert header["ss_output_name"] == "Ada_Lovelace"
    assert header["modelspec.trigger_phrase"] == "sks"
    said = json.dumps(header)
    assert ".pgm" not in said
    for secret in (str(made.root), str(photos[0].parent), str(Path.home())):
        assert secret not in said


def test_generate(generated, person: str) -> None:
    value = generated.inside.json
    assert value["person"] == person
    assert [i["rank"] for i in value["images"]] == [1, 2]
    assert {i["seed"] for i in value["images"]} == {5, 6}
    likenesses = [-2.0 if i["likeness"] is None else i["likeness"] for i in value["images"]]
    assert likenesses == sorted(likenesses, reverse=True)
    names = {Path(i["file"]).name for i in value["images"]}
    assert set(generated.inside_files) == names | {"sheet.png", "report.json"}
    assert (generated.root / "people" / person / "portraits") in Path(value["sheet"]).parents


def test_the_report_says_the_same(generated) -> None:
    report = json.loads(generated.inside_files["report.json"])
    said = [(Path(i["file"]).name, i["seed"], i["likeness"], i["rank"]) for i in generated.inside.json["images"]]
    assert [(i["file"], i["seed"], i["likeness"], i["rank"]) for i in report["images"]] == said
    assert "/" not in "".join(i["file"] for i in report["images"])


def test_the_same_seed_gives_the_same_pixels(generated) -> None:
    for image in generated.inside.json["images"]:
        name = Path(image["file"]).name
        first, again = (np.asarray(Image.open(io.BytesIO(files[name]))) for files in (generated.inside_files, generated.outside_files))
        assert first.std() > 1
        assert np.array_equal(first, again)


def test_portraits_carry_their_recipe_and_no_path(generated, photos) -> None:
    for image in generated.outside.json["images"]:
        data = generated.outside_files[Path(image["file"]).name]
        with Image.open(io.BytesIO(data)) as picture:
            assert set(picture.info) == {"parameters"}
            text = picture.info["parameters"]
        assert "laughing" in text
        assert "sks person" in text
        assert f"Seed: {image['seed']}," in text
        assert "Steps: 2," in text
        for secret in (str(generated.root).encode(), str(Path.home()).encode() + b"/", b".pgm", str(photos[0].parent).encode()):
            assert secret not in data


def test_people(generated, person: str, tmp_path: Path, made) -> None:
    [entry] = made.cli.good("people", "list", "--json").json["people"]
    assert entry == made.cli.good("people", "show", person.upper(), "--json").json
    assert (entry["name"], entry["photos"], entry["portraits"], entry["resumable"]) == (person, 5, 0, False)
    [lora] = entry["loras"]
    assert lora["file"] == made.trained.json["lora"]
    assert lora["steps"] == 4

    value = made.cli.good("people", "export", person, "--out", tmp_path / "ada.zip", "--photos", "--json").json
    assert value == {"person": person, "file": str(tmp_path / "ada.zip")}
    with zipfile.ZipFile(tmp_path / "ada.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("loras/Ada_Lovelace.safetensors") == Path(lora["file"]).read_bytes()
    assert {"dataset/001.png", "dataset/005.png", "dataset/manifest.json"} <= set(names)


@pytest.mark.parametrize(
    ("words", "key", "has"),
    [(("styles", "list"), "styles", {"id", "name", "prompt"}), (("models", "list"), "checkpoints", {"name", "file", "default"})],
)
def test_lists(words: tuple[str, ...], key: str, has: set[str], made) -> None:
    entries = made.cli.good(*words, "--json").json[key]
    assert entries
    assert all(has <= set(e) for e in entries)


def test_models_list_names_the_default_and_the_packs(made) -> None:
    value = made.cli.good("models", "list", "--json").json
    assert [c["name"] for c in value["checkpoints"] if c["default"]] == ["tiny-faces"]
    assert "yunet_sface" in value["packs"]


def test_doctor(empty) -> None:
    ran = empty("doctor", "--json")
    value = ran.json
    assert ran.code == (0 if value["ok"] else 2)
    assert value["ok"] == all(c["ok"] for c in value["checks"])
    checks = {c["name"]: c for c in value["checks"]}
    assert {"Python", "torch", "insightface", "face models", "checkpoint", "styles", "disk"} <= set(checks)
    assert all(c["ok"] or c["advice"] for c in checks.values())
    assert not empty.root.exists()


def test_the_environment_names_the_workspace_too(made, person: str) -> None:
    words = [sys.executable, "-m", "facechain_ext", "people", "list", "--json"]
    surroundings = made.cli.environment(FACECHAIN_HOME=str(made.root))
    done = subprocess.run(words, capture_output=True, text=True, env=surroundings, check=True, timeout=120)
    assert [p["name"] for p in json.loads(done.stdout)["people"]] == [person]


def test_a_dry_run_tells_the_prompts_and_generates_nothing(made, person: str) -> None:
    before = sorted(p for p in made.root.rglob("*"))
    value = made.cli.good("generate", "--person", person, "--style", "knight", "--prompt", "laughing", "--dry-run", "--json").json
    assert value["prompt"] == "".join(p["text"] for p in value["parts"])
    assert [p["source"] for p in value["parts"]] == ["style", "person", "style", "own"]
    assert (value["parts"][1]["text"], value["negative"], value["notes"]) == ("sks person", "modern clothes", [])
    assert 10 < sum(value["tokens"]) <= 75
    exact = made.cli.good("generate", "--person", person, "--exact-prompt", "drawing of {person}", "--dry-run", "--json").json
    assert exact["prompt"] == "drawing of sks person"
    assert sorted(p for p in made.root.rglob("*")) == before
