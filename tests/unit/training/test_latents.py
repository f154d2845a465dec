"""Latents kept for the next training: the same to the bit, encoded once, and gone with their photos."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.progress import CancelToken, silent
from facechain_ext.training import latents
from facechain_ext.training.cache import build_cache
from facechain_ext.training.latents import LatentStore
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession


def encoded(folder, dataset=None, session=None, resolution=64, flip=False):
    """The cache and how many photos were encoded for it (the fixed picture that tells autoencoders apart left out)."""
    session = session or SmallSession()
    real, sides = session.encode_images, []

    def counted(images):
        sides.append(tuple(images.shape[2:]))
        return real(images)

    session.encode_images = counted
    store = LatentStore(folder, session) if folder else None
    cache = build_cache(session, dataset or make_dataset(), resolution, flip, silent, CancelToken(), store)
    return cache, len(sides) - (1 if folder else 0)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip((*a.mean, *a.std), (*b.mean, *b.std), strict=True))


@pytest.mark.parametrize("flip", [False, True])
def test_a_second_training_encodes_nothing_and_has_the_same_latents(tmp_path, flip):
    plain, _ = encoded(None, flip=flip)
    first, count = encoded(tmp_path, flip=flip)
    assert count == (6 if flip else 3)
    again, none = encoded(tmp_path, flip=flip)
    assert none == 0
    assert equal(first, plain)
    assert equal(again, plain)


def test_only_new_photos_are_encoded_and_those_of_gone_ones_vanish(tmp_path):
    encoded(tmp_path)
    more = make_dataset(photos=5)
    assert encoded(tmp_path, more)[1] == 2
    assert len(list(tmp_path.iterdir())) == 5
    fewer = replace(more, photos=more.photos[:1])
    assert encoded(tmp_path, fewer)[1] == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_another_resolution_checkpoint_or_autoencoder_counts(tmp_path):
    encoded(tmp_path)
    assert encoded(tmp_path, resolution=128)[1] == 3
    other = SmallSession()
    other.checkpoint = replace(other.checkpoint, sha256="6" * 64)
    assert encoded(tmp_path, session=other)[1] == 3
    swapped = SmallSession()
    real = swapped.encode_images
    swapped.encode_images = lambda images: (real(images)[0] * 1.2, real(images)[1])
    cache, count = encoded(tmp_path, session=swapped)
    assert count == 3
    assert torch.equal(cache.mean[0], swapped.encode_images(_first())[0])
    # The first autoencoder's are replaced; both resolutions stay.
    assert encoded(tmp_path)[1] == 3
    assert encoded(tmp_path, resolution=128)[1] == 0


def _first():
    from facechain_ext.training.cache import pixels

    return pixels(make_dataset().photos[0].image)


@pytest.mark.parametrize("damage", [b"", b"nonsense", "half"])
def test_damaged_files_are_made_again_and_said(tmp_path, caplog, damage):
    first, _ = encoded(tmp_path)
    file = sorted(tmp_path.iterdir())[0]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    again, count = encoded(tmp_path)
    assert count == 1
    assert equal(again, first)
    assert file.read_bytes() == whole
    assert "damaged" in caplog.text
    assert file.name not in caplog.text


def test_a_folder_that_cannot_be_written_does_not_end_the_training(tmp_path, caplog):
    (tmp_path / "latents").write_text("a file in the way")
    cache, count = encoded(tmp_path / "latents")
    assert count == 3
    assert equal(cache, encoded(None)[0])
    assert caplog.text.count("could not be stored") == 1


def test_the_oldest_go_above_the_limit(tmp_path, monkeypatch):
    encoded(tmp_path, resolution=128)
    old = set(tmp_path.iterdir())
    for file in old:
        os.utime(file, (1, 1))
    encoded(tmp_path)
    new = set(tmp_path.iterdir()) - old
    monkeypatch.setattr(latents, "MOST_BYTES", sum(f.stat().st_size for f in new) + 10)
    assert encoded(tmp_path)[1] == 0
    assert set(tmp_path.iterdir()) == new
