"""Captions in several orders: the trigger first, every tag there, the same for the same seed and step, and exact on resuming."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.faces.captions import caption
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.cache import build_cache, in_orders, pick_conditioning
from facechain_ext.training.wording import ORDERS, drawn_orders, orders
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession
from tests.unit.training.test_loop_small import CONFIG, at, run, same

TAGS = ["smiling", "outdoors", "from the left", "dim light", "close-up"]


def tagged():
    dataset = make_dataset()
    return replace(dataset, photos=tuple(replace(p, caption=caption("sks", "person", TAGS[i:])) for i, p in enumerate(dataset.photos)))


def test_the_trigger_stays_first_and_no_tag_is_lost():
    captions = [p.caption for p in tagged().photos]
    found = orders(captions, 1)
    assert found[:3] == captions
    for i, text in enumerate(found):
        first, *tags = text.split(", ")
        assert first == "photo of sks person"
        assert sorted(tags) == sorted(TAGS[i % 3 :])
    assert len({*found[::3]}) > 1
    assert orders(captions, 1) == found != orders(captions, 2)


@pytest.mark.parametrize("text", ["", "photo of sks person", "photo of sks person, smiling"])
def test_what_has_no_order_stays(text):
    assert orders([text], 1) == [text] * ORDERS


def test_every_order_is_drawn_and_a_step_draws_the_same_again():
    drawn = [drawn_orders(1, step, 2, ORDERS) for step in range(40)]
    assert {o for pair in drawn for o in pair} == set(range(ORDERS))
    assert [drawn_orders(1, step, 2, ORDERS) for step in range(40)] == drawn
    assert drawn_orders(1, 7, 3, 1) == [0, 0, 0]


def test_a_sample_gets_the_words_of_its_photo_in_its_order():
    session, dataset = SmallSession(), tagged()
    cache = in_orders(build_cache(session, dataset, 64, False, silent, CancelToken()), session, dataset, 64, 5)
    assert cache.orders == ORDERS
    wanted = session.encode_prompts(orders([p.caption for p in dataset.photos], 5), [(64, 64)] * 12).context
    found = pick_conditioning(cache, [2, 0, 1], [False, False, True], [0, 3, 2]).context
    assert torch.equal(found[0], wanted[2])
    assert torch.equal(found[1], wanted[9])
    assert torch.equal(found[2, :77], cache.empty.context[0])


def test_resuming_is_exact_and_shuffling_changes_what_is_learned(tmp_path):
    config, dataset = replace(CONFIG, shuffle_captions=True), tagged()
    whole = run(SmallSession(), tmp_path / "whole", config, dataset=dataset)
    token = CancelToken()
    run(SmallSession(), tmp_path / "part", config, dataset=dataset, sink=at(5, token.stop), token=token)
    assert same(run(SmallSession(), tmp_path / "part", config, dataset=dataset, resume=True), whole)
    assert not same(run(SmallSession(), tmp_path / "plain", CONFIG, dataset=dataset), whole)
