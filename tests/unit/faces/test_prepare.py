"""Real photos and real models: who is accepted, who is not, and why."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import Cancelled, FileFormatError
from facechain_ext.faces import examine as examining
from facechain_ext.faces.dataset import read_dataset, write_dataset
from facechain_ext.faces.identity import choose
from facechain_ext.faces.prepare import judge, look, prepare
from facechain_ext.faces.types import Decisions, Preparation, Reason
from facechain_ext.progress import CancelToken, Progress
from facechain_ext.vision.insight import InsightAnalyzer

SMALL = PrepareConfig(resolution=128)


@pytest.fixture(scope="module")
def mixed(
    orl: Path, pictures: Path, analyzer: InsightAnalyzer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Preparation, list[Progress]]:
    """Five photos of one person, then everything that is wrong."""
    folder = tmp_path_factory.mktemp("mixed")
    files = [orl / "s7" / f"{k}.pgm" for k in range(1, 6)]
    shutil.copy(files[0], folder / "copy.pgm")
    photo = PIL.Image.open(files[1]).convert("RGB")
    photo.resize((184, 224), PIL.Image.Resampling.BICUBIC).save(folder / "again.jpg", quality=70)
    photo.filter(PIL.ImageFilter.GaussianBlur(4)).save(folder / "blurred.png")
    photo.point(lambda v: v // 12).save(folder / "dark.png")
    photo.resize((46, 56)).resize((30, 37)).save(folder / "small.png")
    (folder / "letter.jpg").write_text("not a photo")
    (folder / "zero.jpg").write_bytes(b"")
    made = [folder / n for n in ("copy.pgm", "again.jpg", "blurred.png", "dark.png", "small.png", "letter.jpg", "zero.jpg")]
    events: list[Progress] = []
    sources = [*files, *made, orl / "s20" / "1.pgm", pictures / "coffee.png"]
    return prepare(sources, "Ann", analyzer, SMALL, on_progress=events.append), events


def test_own_photos_are_accepted(mixed: tuple[Preparation, list[Progress]]) -> None:
    result, events = mixed
    own = result.verdicts[:5]
    assert sum(v.accepted for v in own) >= 4  # the enlarged copy may win over its original
    assert all(v.similarity is None or v.similarity > 0.6 for v in own)
    assert [e.step for e in events] == list(range(len(result.verdicts) + 1))


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (5, Reason.DUPLICATE),
        (7, Reason.BLURRED),
        (8, Reason.TOO_DARK),
        (9, Reason.TOO_SMALL),
        (10, Reason.UNREADABLE),
        (11, Reason.UNREADABLE),
        (12, Reason.DIFFERENT_PERSON),
        (13, Reason.NO_FACE),
    ],
)
def test_each_bad_photo_gets_its_reason(mixed: tuple[Preparation, list[Progress]], index: int, reason: Reason) -> None:
    verdict = mixed[0].verdicts[index]
    assert not verdict.accepted
    assert reason in verdict.reasons
    assert len(verdict.sentences) == len(verdict.reasons)


def test_one_of_two_near_duplicates_is_kept(mixed: tuple[Preparation, list[Progress]]) -> None:
    first, again = mixed[0].verdicts[1], mixed[0].verdicts[6]
    assert first.accepted != again.accepted
    assert Reason.NEAR_DUPLICATE in (*first.reasons, *again.reasons)


def test_dataset_holds_crops_and_masks(mixed: tuple[Preparation, list[Progress]]) -> None:
    dataset = mixed[0].dataset
    assert dataset is not None
    assert len(dataset.photos) == 5
    assert np.linalg.norm(dataset.mean_embedding) == pytest.approx(1, abs=1e-5)
    for photo in dataset.photos:
        assert photo.image.shape == (128, 128, 3)
        assert photo.mask.shape == (128, 128)
        assert photo.mask[64, 64] == 255
        assert 0.15 < photo.mask.mean() / 255 < 0.6
    # What only one photo shows is said there.
    assert [p.caption for p in dataset.photos].count("photo of sks person, glasses") == 2
    assert {p.caption for p in dataset.photos} == {"photo of sks person", "photo of sks person, glasses"}


def test_dataset_round_trip_names_no_source(mixed: tuple[Preparation, list[Progress]], tmp_path: Path) -> None:
    result = mixed[0]
    assert result.dataset is not None
    write_dataset(tmp_path / "d", result.dataset, result.verdicts)
    back = read_dataset(tmp_path / "d")
    for a, b in zip(result.dataset.photos, back.photos, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.mask, b.mask)
        assert np.array_equal(a.embedding, b.embedding)
        assert (a.caption, a.source_sha256) == (b.caption, b.source_sha256)
    text = (tmp_path / "d" / "manifest.json").read_text()
    assert ".pgm" not in text
    assert "copy" not in text
    assert "letter" not in text
    assert PIL.Image.open(tmp_path / "d" / "001.png").info == {}
    write_dataset(tmp_path / "d", result.dataset)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../001"),
        ("name", "/etc/passwd"),
        ("embedding", [1.0]),
        ("embedding", [float("nan")] * 128),
        ("source_sha256", "x"),
        ("quality", 7),
    ],
)
def test_damaged_manifest_is_refused(mixed: tuple[Preparation, list[Progress]], tmp_path: Path, key: str, value: object) -> None:
    assert mixed[0].dataset is not None
    write_dataset(tmp_path / "d", mixed[0].dataset)
    file = tmp_path / "d" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["photos"][0][key] = value
    file.write_text(json.dumps(manifest))
    with pytest.raises(FileFormatError, match="Prepare the photos again"):
        read_dataset(tmp_path / "d")


def test_missing_and_damaged_files_are_refused(mixed: tuple[Preparation, list[Progress]], tmp_path: Path) -> None:
    assert mixed[0].dataset is not None
    with pytest.raises(FileFormatError, match="Prepare photos first"):
        read_dataset(tmp_path / "none")
    write_dataset(tmp_path / "d", mixed[0].dataset)
    (tmp_path / "d" / "masks" / "002.png").write_bytes(b"junk")
    with pytest.raises(FileFormatError, match=r"002\.png"):
        read_dataset(tmp_path / "d")


def test_one_photo_is_enough(orl: Path, analyzer: InsightAnalyzer) -> None:
    result = prepare([orl / "s1" / "1.pgm"], "Ann", analyzer, SMALL)
    assert result.dataset is not None
    assert result.verdicts[0].accepted
    assert any("enough to go on" in line for line in result.advice)


def test_nothing_usable_gives_no_dataset(pictures: Path, analyzer: InsightAnalyzer) -> None:
    result = prepare([pictures / "coffee.png"], "Ann", analyzer, SMALL)
    assert result.dataset is None
    assert result.verdicts[0].reasons == (Reason.NO_FACE,)
    assert prepare([], "Ann", analyzer, SMALL).dataset is None


def _side_by_side(first: Path, second: Path, target: Path) -> Path:
    pair = np.hstack([np.asarray(PIL.Image.open(p).convert("RGB")) for p in (first, second)])
    PIL.Image.fromarray(pair).save(target)
    return target


def test_the_set_decides_whose_photo_it_is(orl: Path, analyzer: InsightAnalyzer, tmp_path: Path) -> None:
    both = _side_by_side(orl / "s30" / "1.pgm", orl / "s7" / "6.pgm", tmp_path / "both.png")
    alone = prepare([both], "Ann", analyzer, SMALL)
    assert alone.verdicts[0].reasons == (Reason.SEVERAL_PEOPLE,)
    assert alone.dataset is None
    helped = prepare([both, orl / "s7" / "1.pgm", orl / "s7" / "2.pgm"], "Ann", analyzer, SMALL)
    assert helped.verdicts[0].accepted
    assert "on the right" in helped.verdicts[0].sentences[0]


def test_best_photos_are_kept(orl: Path, analyzer: InsightAnalyzer) -> None:
    result = prepare([orl / "s7" / f"{k}.pgm" for k in (1, 2, 3)], "Ann", analyzer, PrepareConfig(resolution=128, max_photos=2))
    dropped = [v for v in result.verdicts if not v.accepted]
    assert [v.reasons for v in dropped] == [(Reason.TOO_MANY,)]
    assert dropped[0].quality <= min(v.quality for v in result.verdicts if v.accepted)


def test_cancel(orl: Path, analyzer: InsightAnalyzer) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        prepare([orl / "s1" / "1.pgm"], "Ann", analyzer, SMALL, cancel=token)


def test_choose_is_not_misled_by_a_bystander_pair() -> None:
    rng = np.random.default_rng(3)
    unit = lambda v: (v / np.linalg.norm(v)).astype(np.float32)  # noqa: E731
    own, other = unit(rng.normal(size=64)), unit(rng.normal(size=64))
    near = lambda v: unit(v + 0.05 * rng.normal(size=64))  # noqa: E731
    photos = [[near(own)], [near(other), near(own)], [near(own)], [near(other)], [near(own)]]
    choice = choose(photos, [[1.0] * len(p) for p in photos], 0.5)
    assert choice.faces == (0, 1, 0, None, 0)


def test_the_user_has_the_last_word(orl: Path, analyzer: InsightAnalyzer, tmp_path: Path) -> None:
    both = _side_by_side(orl / "s30" / "1.pgm", orl / "s7" / "6.pgm", tmp_path / "both.png")
    blurred = tmp_path / "blurred.png"
    PIL.Image.open(orl / "s7" / "3.pgm").convert("RGB").filter(PIL.ImageFilter.GaussianBlur(4)).save(blurred)
    sources = [orl / "s7" / "1.pgm", orl / "s7" / "2.pgm", both, orl / "s20" / "1.pgm", blurred]
    draft = look(sources, "Ann", analyzer, SMALL)
    by_rules = judge(draft, analyzer)
    assert [v.accepted for v in by_rules.verdicts] == [True, True, True, False, False]
    [left, right] = by_rules.verdicts[2].faces
    assert (left.taken, right.taken) == (right.box[0] < left.box[0], left.box[0] < right.box[0])

    decided = judge(draft, analyzer, Decisions({0: None, 4: 0}, {1: "photo of sks person, smiling "}))
    assert [v.accepted for v in decided.verdicts] == [False, True, True, False, True]
    assert decided.verdicts[0].reasons == (Reason.LEFT_OUT,)
    assert Reason.CHOSEN in decided.verdicts[4].reasons
    assert decided.dataset is not None
    assert decided.dataset.photos[0].caption == decided.verdicts[1].caption == "photo of sks person, smiling"
    assert "smiling" not in decided.dataset.photos[1].caption

    # Whoever is chosen decides who the person is: with the stranger's photo and face chosen, the others are the strangers.
    other = next(i for i, f in enumerate(by_rules.verdicts[2].faces) if not f.taken)
    swapped = judge(draft, analyzer, Decisions({2: other, 3: None}))
    assert [v.accepted for v in swapped.verdicts] == [False, False, True, False, False]
    assert swapped.verdicts[2].faces[other].taken
    assert judge(draft, analyzer).verdicts == by_rules.verdicts


def test_near_duplicates_that_are_wanted_stay(orl: Path, analyzer: InsightAnalyzer, tmp_path: Path) -> None:
    again = tmp_path / "again.png"
    PIL.Image.open(orl / "s7" / "1.pgm").resize((184, 224), PIL.Image.Resampling.BICUBIC).save(again)
    draft = look([orl / "s7" / "1.pgm", again], "Ann", analyzer, SMALL)
    assert sum(v.accepted for v in judge(draft, analyzer).verdicts) == 1
    assert sum(v.accepted for v in judge(draft, analyzer, Decisions({0: 0, 1: 0})).verdicts) == 2


def test_thumbnails_are_upright_and_small(orl: Path, pictures: Path, analyzer: InsightAnalyzer, tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_text("no")
    result = prepare([pictures / "astronaut.png", tmp_path / "no.jpg"], "Ann", analyzer, SMALL)
    first, second = result.thumbnails
    assert second is None
    assert first is not None
    with PIL.Image.open(io.BytesIO(first)) as shown:
        assert (shown.format, max(shown.size)) == ("JPEG", 360)


def test_ten_thousand_files_are_not_opened_one_by_one(orl: Path, analyzer: InsightAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "MAX_SOURCES", 3)
    opened = []
    load = examining.load_photo
    monkeypatch.setattr(examining, "load_photo", lambda path, **more: opened.append(path) or load(path, **more))
    events: list[Progress] = []
    result = prepare([orl / "s7" / "1.pgm"] * 3 + [Path("missing.png")] * 9997, "Ann", analyzer, SMALL, on_progress=events.append)
    assert len(opened) == 3
    assert [v.reasons for v in result.verdicts[1:4]] == [(Reason.DUPLICATE,), (Reason.DUPLICATE,), (Reason.TOO_MANY,)]
    assert (events[-1].step, events[-1].total) == (10_000, 10_000)


def test_several_photos_at_once_give_what_one_after_the_other_gives(
    mixed: tuple[Preparation, list[Progress]], monkeypatch: pytest.MonkeyPatch, analyzer: InsightAnalyzer, orl: Path
) -> None:
    sources = [orl / f"s{1 + i % 3}" / f"{1 + i}.pgm" for i in range(9)]
    many = prepare(sources, "Ann", analyzer, SMALL)
    monkeypatch.setattr(examining, "WORKERS", 1)
    one = prepare(sources, "Ann", analyzer, SMALL)
    assert many.verdicts == one.verdicts
    assert many.dataset is not None
    assert one.dataset is not None
    assert all(np.array_equal(a.image, b.image) for a, b in zip(many.dataset.photos, one.dataset.photos, strict=True))


def test_a_cancel_in_the_middle_ends_it_soon(orl: Path, analyzer: InsightAnalyzer) -> None:
    token, seen = CancelToken(), []

    def heard(event: Progress) -> None:
        seen.append(event.step)
        if event.step == 2:
            token.cancel()

    with pytest.raises(Cancelled):
        prepare([orl / f"s{i}" / "1.pgm" for i in range(1, 31)], "Ann", analyzer, SMALL, on_progress=heard, cancel=token)
    assert max(seen) <= 2 + examining.WORKERS


def test_a_dataset_of_the_first_release_is_still_read(mixed: tuple[Preparation, list[Progress]], tmp_path: Path) -> None:
    assert mixed[0].dataset is not None
    write_dataset(tmp_path / "d", mixed[0].dataset)
    file = tmp_path / "d" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["schema"] = 1
    for entry in manifest["photos"]:
        del entry["size"], entry["masks"]
    file.write_text(json.dumps(manifest))
    shutil.rmtree(tmp_path / "d" / "heads")
    shutil.rmtree(tmp_path / "d" / "figures")
    old = read_dataset(tmp_path / "d")
    assert (old.photos[0].head, old.photos[0].figure) == (None, None)
    assert np.array_equal(old.photos[0].mask, mixed[0].dataset.photos[0].mask)
