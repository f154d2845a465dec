"""What a step draws depends on seed and step alone, is fair to photos and even over timesteps."""

import collections

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.config import TrainConfig
from facechain_ext.training.batches import bucket_indices, photo_indices, step_stream, stratified_timesteps
from facechain_ext.training.optim import learning_rate


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 7))
def test_every_epoch_shows_every_photo_once(seed, photos, batch):
    shown = [i for step in range(3 * photos) for i in photo_indices(seed, step, batch, photos)]
    for epoch in range(len(shown) // photos):
        assert sorted(shown[epoch * photos : (epoch + 1) * photos]) == list(range(photos))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(1, 5))
def test_a_step_draws_from_one_bucket_each_as_often_as_it_has_photos(seed, sizes, batch):
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    buckets = [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    drawn = [bucket_indices(seed, step, batch, buckets) for step in range(4 * sum(sizes))]
    used = [next(b for b, photos in enumerate(buckets) if step[0] in photos) for step in drawn]
    for step, bucket in zip(drawn, used, strict=True):
        assert len(step) == batch
        assert set(step) <= set(buckets[bucket])
        # Nobody twice while others of the bucket have not been seen.
        assert len(set(step)) == min(batch, sizes[bucket])
    assert collections.Counter(used) == {b: 4 * size for b, size in enumerate(sizes)}
    assert bucket_indices(seed, 3, batch, buckets) == drawn[3]


def test_one_bucket_is_drawn_as_before():
    assert [bucket_indices(5, step, 2, [[0, 1, 2]]) for step in range(9)] == [photo_indices(5, step, 2, 3) for step in range(9)]


def test_steps_and_seeds_are_unrelated():
    draws = {(seed, step): float(torch.rand(1, generator=step_stream(seed, step))) for seed in range(20) for step in range(20)}
    assert len(set(draws.values())) == 400
    assert draws[3, 5] == float(torch.rand(1, generator=step_stream(3, 5)))
    assert abs(sum(draws.values()) / 400 - 0.5) < 0.05


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 16), st.integers(0, 10**6))
def test_timesteps_fill_every_stratum(batch, seed):
    found = stratified_timesteps(batch, 1000, torch.Generator().manual_seed(seed))
    assert all(i * 1000 / batch - 1 <= int(t) < (i + 1) * 1000 / batch for i, t in enumerate(found))
    assert 0 <= int(found.min()) <= int(found.max()) <= 999


def test_timesteps_are_uniform_over_many_steps():
    counts = collections.Counter(int(t) // 100 for s in range(2000) for t in stratified_timesteps(3, 1000, step_stream(1, s)))
    assert max(counts.values()) / min(counts.values()) < 1.25


def test_the_rate_rises_then_falls():
    config = TrainConfig(steps=200, warmup=20, learning_rate=1e-3)
    rates = [learning_rate(config, s) for s in range(200)]
    assert rates[0] == pytest.approx(5e-5)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 1e-4 <= rates[-1] < 1.1e-4


def test_a_short_run_is_not_all_warmup():
    config = TrainConfig(steps=5, warmup=100, learning_rate=1e-3)
    assert learning_rate(config, 1) == pytest.approx(1e-3)
