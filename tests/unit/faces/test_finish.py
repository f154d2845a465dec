"""Backgrounds, retouching, masks and shapes of crops, on real photos."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.config import PrepareConfig
from facechain_ext.faces import prepare as judging
from facechain_ext.faces.finish import LIKENESS_KEPT, retouched, with_background
from facechain_ext.faces.geometry import bucket_for, buckets, cut, plan, to_crop
from facechain_ext.faces.masks import face_mask, head_mask, person_mask
from facechain_ext.faces.prepare import judge, look, prepare
from facechain_ext.faces.types import Decisions, Face, Reason


@pytest.fixture(scope="module")
def portrait(astronaut, analyzer):
    """The astronaut's crop (256, 256, 3), its face and its frame."""
    face = analyzer.detect(astronaut)[0]
    frame = plan(face, (512, 512), 2.8)
    return cut(astronaut, frame, 256), face, frame


def test_the_figure_holds_hair_and_shoulders_and_not_the_wall(portrait):
    crop, face, frame = portrait
    figure = person_mask(crop, face, frame)
    assert figure.shape == (256, 256)
    middle = to_crop(np.array([face.centre]), frame, 256)[0]
    size = face.size * 256 / frame.side
    points = {name: (middle + size * np.array(move)).round().astype(int) for name, move in {
        "face": (0, 0), "hair": (0, -0.72), "chest": (0, 1.35), "left shoulder": (-0.8, 1.4), "wall": (-1.15, -0.6), "flag side": (1.2, -0.4),
    }.items()}  # fmt: skip
    inside = {name: int(figure[min(y, 255), min(max(x, 0), 255)]) > 127 for name, (x, y) in points.items()}
    assert inside == {"face": True, "hair": True, "chest": True, "left shoulder": True, "wall": False, "flag side": False}
    assert np.array_equal(figure, person_mask(crop, face, frame))


def test_face_head_and_figure_lie_in_each_other(portrait):
    crop, face, frame = portrait
    figure = person_mask(crop, face, frame)
    small, head = face_mask(face, frame, 256), head_mask(face, frame, figure)
    assert (head >= small).all()
    assert small.mean() < head.mean() < figure.mean()
    # The head is head: nothing of it far below the chin.
    chin = to_crop(np.array([[face.centre[0], face.bbox[3] + 0.5 * face.size]]), frame, 256)[0]
    assert head[round(float(chin[1])) :].max(initial=0) < 128


def test_a_flat_picture_still_gives_a_figure():
    face = Face(np.array([100, 80, 160, 160], np.float32), np.array([[115, 110], [145, 110], [130, 125], [118, 140], [142, 140]], np.float32), 0.9)
    frame = plan(face, (256, 256), 2.8)
    figure = person_mask(np.full((128, 128, 3), 90, np.uint8), face, frame)
    assert 0.15 < figure.mean() / 255 < 0.85


def test_backgrounds(portrait):
    crop, face, frame = portrait
    figure = person_mask(crop, face, frame)
    inside, outside = figure == 255, figure == 0
    assert with_background(crop, figure, "keep") is crop
    white, blurred = with_background(crop, figure, "white"), with_background(crop, figure, "blur")
    for made in (white, blurred):
        assert np.array_equal(made[inside], crop[inside])
    assert (white[outside] == 255).all()
    # Less detail behind her, and none of her orange suit bleeds into the wall.
    detail = [float(np.abs(cv2.Laplacian(im.astype(np.float32), cv2.CV_32F))[outside].mean()) for im in (crop, blurred)]
    assert detail[1] < 0.35 * detail[0]
    near = cv2.dilate((figure > 0).astype(np.uint8), np.ones((9, 9))).astype(bool) & outside
    assert np.abs(blurred[near].mean(0) - crop[near].mean(0)).max() < 12
    with pytest.raises(ValueError, match="green"):
        with_background(crop, figure, "green")


def test_retouching_evens_skin_and_keeps_features_and_identity(portrait, analyzer):
    crop, face, frame = portrait
    mask = face_mask(face, frame, 256)
    noise = np.random.default_rng(1).normal(0, 6, crop.shape)
    rough = np.clip(crop + noise, 0, 255).astype(np.uint8)
    even = retouched(rough, mask, face.size * 256 / frame.side)
    skin = mask > 250
    assert np.abs(even.astype(float) - crop)[skin].mean() < 0.8 * np.abs(rough.astype(float) - crop)[skin].mean()
    assert np.array_equal(even[mask == 0], rough[mask == 0])
    inside = replace(face, bbox=np.array([0, 0, 1, 1], np.float32), landmarks=to_crop(face.landmarks, frame, 256))
    inside = replace(inside, bbox=np.array([60, 60, 160, 180], np.float32))
    assert float(analyzer.embed(rough, inside) @ analyzer.embed(even, inside)) > LIKENESS_KEPT


def test_retouching_that_changes_the_face_is_thrown_away_and_said(astronaut, analyzer, tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    PIL.Image.fromarray(astronaut).save(file)
    config = PrepareConfig(resolution=256, retouch=True)
    plain = prepare([file], "Ann", analyzer, replace(config, retouch=False)).dataset
    mild = prepare([file], "Ann", analyzer, config)
    assert mild.dataset is not None
    assert plain is not None
    assert not np.array_equal(mild.dataset.photos[0].image, plain.photos[0].image)
    assert Reason.RETOUCHED not in mild.verdicts[0].reasons
    monkeypatch.setattr(judging, "retouched", lambda image, *_: cv2.GaussianBlur(image, (0, 0), 9))
    spoilt = prepare([file], "Ann", analyzer, config)
    assert spoilt.dataset is not None
    assert np.array_equal(spoilt.dataset.photos[0].image, plain.photos[0].image)
    assert Reason.RETOUCHED in spoilt.verdicts[0].reasons


@pytest.mark.parametrize("resolution", [256, 512, 640, 768, 1024])
def test_buckets_are_what_the_unet_takes_and_as_large_as_the_square(resolution):
    for width, height in buckets(resolution):
        assert width % 64 == height % 64 == 0
        assert 0.7 * resolution**2 < width * height <= resolution**2
        assert 1 / 1.7 <= width / height <= 1.7
    assert (resolution, resolution) in buckets(resolution)


def face_at(x, y, size):
    box = np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2], np.float32)
    marks = np.array([[x - 10, y - 5], [x + 10, y - 5], [x, y + 5], [x - 8, y + 15], [x + 8, y + 15]], np.float32)
    return Face(box, marks, 0.95)


@pytest.mark.parametrize(("photo", "aspect"), [((3000, 4000), (1.1, 1.7)), ((4000, 3000), (0.59, 0.9)), ((3000, 3000), (1.0, 1.0))])
def test_a_crop_takes_the_shape_of_its_photo_without_leaving_it(photo, aspect):
    face = face_at(photo[0] / 2, photo[1] * 0.4, 500)
    width, height = bucket_for(face, photo, 2.4, 512)
    assert aspect[0] <= height / width <= aspect[1]
    frame = plan(face, photo, 2.4, aspect=height / width)
    assert frame.inside(photo) > 0.98
    # As many pixels of the photo as the square would take, and the face whole inside.
    assert frame.side * frame.height == pytest.approx((2.4 * 500) ** 2, rel=0.02)
    corners = to_crop(face.bbox.reshape(2, 2), frame, width)
    assert (corners > 0).all()
    assert (corners < np.array([width, height])).all()


def test_a_shape_the_photo_cannot_fill_is_not_taken():
    # The face fills a narrow photo from side to side: whatever is tall enough would be made of smeared edge.
    face = face_at(200, 300, 380)
    width, height = bucket_for(face, (400, 600), 2.4, 512)
    others = [plan(face, (400, 600), 2.4, aspect=h / w).inside((400, 600)) for w, h in buckets(512)]
    assert plan(face, (400, 600), 2.4, aspect=height / width).inside((400, 600)) == max(others)


def test_buckets_and_framings_reach_the_dataset(astronaut, analyzer, orl, tmp_path):
    tall = astronaut[:, 120:400]
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, image in zip(files, (astronaut, tall, np.ascontiguousarray(astronaut[:, ::-1])), strict=True):
        PIL.Image.fromarray(image).save(file)

    def made(**settings):
        # Made from one photo they are near-duplicates; as if the user wanted all.
        config = PrepareConfig(resolution=256, crop_scale=2.0, **settings)
        return judge(look(files, "Ann", analyzer, config), analyzer, Decisions(dict.fromkeys(range(3), 0)))

    shaped = made(buckets=True)
    assert shaped.dataset is not None
    shapes = [p.image.shape[:2] for p in shaped.dataset.photos]
    assert (320, 192) in shapes
    assert {s for p in shaped.dataset.photos for s in (p.mask.shape, p.head.shape, p.figure.shape)} == set(shapes)
    varied, same = made(vary_framing=True), made()
    assert varied.dataset is not None
    assert same.dataset is not None
    shares = [[float(p.mask.mean()) for p in result.dataset.photos] for result in (same, varied)]
    assert max(shares[0]) - min(shares[0]) < 12
    assert max(shares[1]) - min(shares[1]) > 30
