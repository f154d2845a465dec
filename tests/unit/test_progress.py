"""Progress events, the token that stops work from another thread, and the estimate of what is left."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.errors import Cancelled
from facechain_ext.progress import CancelToken, Eta, Progress, Stage, silent


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_fraction_lies_between_nothing_and_all(step, total):
    fraction = Progress(Stage.TRAIN, step, total).fraction
    assert 0 <= fraction <= 1
    if 0 < step <= total:
        assert fraction == step / total
    if total == 0:
        assert fraction == 0


def test_events_cannot_be_changed_by_who_hears_them():
    event = Progress(Stage.TRAIN, 1, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.step = 5  # type: ignore[misc]
    assert silent(event) is None


def test_stop_and_cancel_are_two_wishes():
    token = CancelToken()
    token.raise_if_cancelled()
    token.stop()
    assert (token.stopping, token.cancelled) == (True, False)
    token.raise_if_cancelled()
    token.cancel()
    assert (token.stopping, token.cancelled) == (True, True)
    with pytest.raises(Cancelled, match="Nothing was changed"):
        token.raise_if_cancelled()


def test_cancelling_alone_does_not_ask_to_keep():
    token = CancelToken()
    token.cancel()
    assert not token.stopping


def test_a_wish_reaches_another_thread():
    token, heard = CancelToken(), threading.Event()

    def work():
        while not token.cancelled:
            threading.Event().wait(0.005)
        heard.set()

    threading.Thread(target=work, daemon=True).start()
    assert not heard.wait(0.05)
    token.cancel()
    assert heard.wait(10)


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_step_tells_nothing_yet():
    assert Eta(10, clock=Clock()).update(1) is None


@given(st.integers(2, 500), st.floats(0.01, 100), st.integers(1, 50))
def test_a_steady_pace_gives_the_exact_time_left(total, seconds, window):
    clock = Clock()
    eta = Eta(total, window, clock)
    for step in range(1, total + 1):
        left = eta.update(step)
        if step > 1:
            assert left == pytest.approx(seconds * (total - step), rel=1e-6, abs=1e-6)
        clock.now += seconds


def test_only_recent_steps_count():
    clock = Clock()
    eta = Eta(100, 5, clock)
    for step in range(1, 51):
        eta.update(step)
        clock.now += 60 if step < 40 else 1
    assert eta.update(51) == pytest.approx(49)


def test_resuming_does_not_count_steps_of_earlier():
    clock = Clock()
    eta = Eta(100, clock=clock)
    assert eta.update(90) is None
    clock.now += 2
    assert eta.update(91) == pytest.approx(18)


def test_steps_that_do_not_advance_or_overshoot_are_no_error():
    clock = Clock()
    eta = Eta(10, clock=clock)
    eta.update(3)
    clock.now += 1
    assert eta.update(3) is None
    clock.now += 1
    assert eta.update(20) == 0.0
