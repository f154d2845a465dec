"""Photos and prompts encoded once: what lands in the cache is what the photo, its mirror image, its mask and caption say."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.errors import Cancelled
from facechain_ext.ports import Conditioning
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training.cache import TrainingCache, build_cache, masked_by, pick_conditioning, pixels, resized, training_size
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession


def lopsided():
    """Photos whose mask covers the left quarter, so that mirroring shows."""
    dataset = make_dataset()
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :16] = 255
    return replace(dataset, photos=tuple(replace(p, mask=mask) for p in dataset.photos))


def test_pixels_span_minus_one_to_one():
    image = np.zeros((8, 8, 3), np.uint8)
    image[0, 0] = (255, 0, 51)
    found = pixels(image)
    assert (found.shape, found.dtype) == ((1, 3, 8, 8), torch.float32)
    assert found[0, :, 0, 0].tolist() == pytest.approx([1.0, -1.0, -0.6])
    assert torch.equal(pixels(image[:, ::-1]), found.flip(3))


@pytest.mark.parametrize("side", [16, 64, 96])
def test_resizing_keeps_colours_and_type(side):
    photo = make_dataset().photos[0].image
    found = resized(photo, (side, side))
    assert (found.shape, found.dtype) == ((side, side, 3), np.uint8)
    assert np.abs(found.mean((0, 1)) - photo.mean((0, 1))).max() < 3
    assert resized(photo[..., 0], (side, side)).shape == (side, side)


def test_shrinking_a_mask_averages_it():
    mask = lopsided().photos[0].mask.copy()
    mask[:, 16:20] = 255
    assert resized(mask, (8, 8))[0].tolist() == [255, 255, 128, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("flip", [False, True])
def test_every_view_of_every_photo_is_encoded_once(flip):
    session, dataset, events = SmallSession(), lopsided(), []
    cache = build_cache(session, dataset, 64, flip, events.append, CancelToken())
    views = 2 if flip else 1
    assert session.images == 3 * views
    assert (cache.photos, cache.views, cache.buckets) == (3, views, [[0, 1, 2]])
    assert {t.shape for t in (*cache.mean, *cache.std)} == {(views, 4, 8, 8)}
    assert {t.shape for t in cache.masks} == {(views, 1, 8, 8)}
    assert session.prompts == [p.caption for p in dataset.photos] + [""]
    assert [(e.stage, e.step, e.total) for e in events] == [(Stage.CACHE, i + 1, 3 * views) for i in range(3 * views)]
    for i, photo in enumerate(dataset.photos):
        mean, _ = session.encode_images(pixels(photo.image))
        assert torch.equal(cache.mean[i][0], mean[0])
        assert cache.masks[i][0, 0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
        if flip:
            assert torch.equal(cache.mean[i][1], mean[0].flip(2))
            assert cache.masks[i][1, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]


def test_another_resolution_gives_other_sizes():
    cache = build_cache(SmallSession(), lopsided(), 96, False, silent, CancelToken())
    assert {(m.shape[2:], mask.shape[2:]) for m, mask in zip(cache.mean, cache.masks, strict=True)} == {((12, 12), (12, 12))}
    assert all(0 <= float(mask.min()) <= float(mask.max()) <= 1 for mask in cache.masks)


def test_photos_of_other_shapes_are_buckets_and_nothing_is_stretched():
    dataset = make_dataset(4, 64)
    wide = np.zeros((448, 576, 3), np.uint8)
    # A circle must stay a circle in whatever size it is trained.
    yy, xx = np.mgrid[:448, :576]
    wide[(yy - 224) ** 2 + (xx - 288) ** 2 < 150**2] = 255
    photos = [replace(p, image=wide, mask=wide[..., 0]) if i in (1, 3) else p for i, p in enumerate(dataset.photos)]
    session = SmallSession()
    cache = build_cache(session, replace(dataset, photos=tuple(photos)), 512, False, silent, CancelToken())
    assert cache.buckets == [[0, 2], [1, 3]]
    # SDXL is told each photo's own size, and for the empty prompt too.
    assert session.sizes == [(512, 512), (576, 448), (512, 512), (576, 448), (512, 512), (576, 448)]
    assert cache.empty_rows == (0, 1, 0, 1)
    assert (cache.mean[0].shape, cache.mean[1].shape, cache.masks[1].shape) == ((1, 4, 64, 64), (1, 4, 56, 72), (1, 1, 56, 72))
    # In another resolution the bucket's shape is a little different: cut, not squeezed.
    for resolution in (256, 512, 768):
        width, height = training_size(wide, resolution)
        assert width >= height
        seen = resized(wide, (width, height))[..., 0] > 127
        across, down = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
        assert abs((across[-1] - across[0]) - (down[-1] - down[0])) <= 2
    assert training_size(dataset.photos[0].image, 96) == (96, 96)


def test_cancel_is_heard_between_photos():
    session, token = SmallSession(), CancelToken()
    with pytest.raises(Cancelled):
        build_cache(session, lopsided(), 64, False, lambda _: token.cancel(), token)
    assert session.images == 1


def cache_of(captions, empty):
    nothing = (torch.zeros(1, 4, 1, 1),)
    return TrainingCache(nothing, nothing, nothing, captions, empty)


def test_rows_are_the_photos_captions_or_the_empty_prompt():
    captions, empty = torch.arange(3.0).view(3, 1, 1).expand(3, 77, 2), torch.full((1, 77, 2), -1.0)
    found = pick_conditioning(cache_of(Conditioning(captions), Conditioning(empty)), [2, 0, 2], [False, True, False])
    assert found.context[:, 0, 0].tolist() == [2, -1, 2]
    assert (found.context.shape, found.pooled, found.size_ids) == ((3, 77, 2), None, None)


def test_the_empty_prompt_grows_to_long_captions():
    empty = torch.arange(77.0).view(1, 77, 1)
    found = pick_conditioning(cache_of(Conditioning(torch.zeros(2, 231, 1)), Conditioning(empty)), [0, 1], [True, False])
    assert torch.equal(found.context[0], torch.cat([empty[0]] * 3))


def test_pooled_vectors_and_sizes_follow_their_rows():
    captions = Conditioning(torch.zeros(2, 77, 1), torch.tensor([[1.0], [2.0]]), torch.tensor([[64.0] * 6, [128.0] * 6]))
    empty = Conditioning(torch.zeros(1, 77, 1), torch.tensor([[9.0]]), torch.tensor([[0.0] * 6]))
    found = pick_conditioning(cache_of(captions, empty), [1, 1], [False, True])
    assert found.pooled.tolist() == [[2.0], [9.0]]
    assert found.size_ids[:, 0].tolist() == [128.0, 0.0]


def test_the_empty_prompt_has_the_photos_size():
    captions = Conditioning(torch.zeros(3, 77, 1), torch.zeros(3, 1))
    empty = Conditioning(torch.zeros(2, 77, 1), torch.tensor([[64.0], [96.0]]))
    cache = replace(cache_of(captions, empty), empty_rows=(0, 1, 0))
    assert pick_conditioning(cache, [1, 2, 1], [True, True, False]).pooled.tolist() == [[96], [64], [0]]


def test_the_masks_of_head_or_figure_count_where_there_are_some():
    dataset = make_dataset(2)
    head, figure = (np.full((64, 64), value, np.uint8) for value in (51, 102))
    first, second = dataset.photos
    dataset = replace(dataset, photos=(replace(first, head=head, figure=figure), second))
    for part, wanted in (("head", 0.2), ("figure", 0.4)):
        masks = build_cache(SmallSession(), masked_by(dataset, part), 64, False, silent, CancelToken()).masks
        assert torch.allclose(masks[0], torch.tensor(wanted))
        assert masks[1].max() > 0.9, "a photo without such a mask keeps the face's"
    assert masked_by(dataset, "face") is dataset
