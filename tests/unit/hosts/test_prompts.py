"""Prompts as the WebUI encodes them: chunks, weights, Clip skip, and what changes over the steps."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.hosts.standalone.prompts import chunked, encode, filled, guided
from facechain_ext.styles.syntax import Piece

COMMA, WORD = 7, 1
BREAK = (Piece("BREAK", -1), ())


def shape(pieces):
    """Chunks as text: w for a word, a comma for a comma."""
    return ["".join("," if t == COMMA else "w" for t in chunk.tokens) for chunk in filled(pieces, COMMA)]


@pytest.mark.parametrize(
    ("ids", "chunks"),
    [
        ([], [""]),
        ([WORD] * 75, ["w" * 75]),
        ([WORD] * 80, ["w" * 75, "w" * 5]),
        # The comma is 20 tokens back: the clause behind it moves as a whole; one token more, and it is cut.
        ([WORD] * 55 + [COMMA] + [WORD] * 24, ["w" * 55 + ",", "w" * 24]),
        ([WORD] * 54 + [COMMA] + [WORD] * 24, ["w" * 54 + "," + "w" * 20, "w" * 4]),
        # A comma itself does not move anything, and one that opens a chunk is no place to cut at.
        ([WORD] * 60 + [COMMA] + [WORD] * 14 + [COMMA] + [WORD], ["w" * 60 + "," + "w" * 14, ",w"]),
        ([WORD] * 75 + [COMMA] + [WORD] * 75, ["w" * 75, "," + "w" * 74, "w"]),
    ],
)
def test_chunks_end_behind_a_comma_that_is_near(ids, chunks):
    assert shape([(Piece(""), ids)]) == chunks


def test_break_ends_a_chunk_also_before_the_first_word():
    word = (Piece("w"), [WORD])
    assert shape([word, BREAK, word]) == ["w", "w"]
    assert shape([BREAK, word]) == ["", "w"]
    assert shape([word, BREAK]) == ["w"]
    assert shape([word, BREAK, BREAK, word]) == ["w", "", "w"]


def test_every_token_has_its_pieces_weight(host):
    [chunk] = chunked(host.parts(), "photo, (photo:1.5) [photo]")
    assert chunk.weights == pytest.approx([1, 1, 1.5, 1 / 1.1])
    assert len(set(chunk.tokens)) == 2
    assert [len(c.tokens) for c in chunked(host.parts(), "")] == [0]


def test_weights_multiply_and_the_mean_is_restored(host):
    parts = host.parts()
    plain, loud = encode(parts, ["photo of a man"])[0], encode(parts, ["photo (of a:1.4) man"])[0]
    expected = plain.clone()
    expected[2:4] *= 1.4
    expected *= plain.mean() / expected.mean()
    assert torch.allclose(loud, expected, atol=1e-5)
    assert not torch.allclose(loud, plain, atol=1e-3)
    assert loud.mean() == pytest.approx(float(plain.mean()), abs=1e-6)
    assert torch.equal(encode(parts, ["(photo of a man:1)"])[0], plain)
    # Beside another prompt it is the same.
    assert torch.allclose(encode(parts, ["x", "photo (of a:1.4) man"])[1], loud, atol=1e-5)


def test_clip_skip_takes_an_earlier_layer(host):
    parts, seen = host.parts(), []
    model = getattr(parts.text_encoder, "text_model", parts.text_encoder)
    last = encode(parts, ["photo of a man"])
    handle = model.encoder.layers[0].register_forward_hook(lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple) else out))
    try:
        early = encode(parts, ["photo of a man"], skip=len(model.encoder.layers))
    finally:
        handle.remove()
    assert torch.allclose(early, model.final_layer_norm(seen[0]).view_as(early), atol=1e-6)
    assert not torch.allclose(early, last, atol=1e-2)


def test_words_change_at_their_step(host):
    parts = host.parts()
    found = guided(parts, "photo of a [man:woman:2]", "blur", 5)
    man, woman = encode(parts, ["photo of a man"]), encode(parts, ["photo of a woman"])
    # One step longer than it says, as in the WebUI.
    for step, expected in enumerate([man, man, man, woman, woman]):
        assert torch.allclose(found.at(step)[1:], expected, atol=1e-5)
    assert not found.constant
    assert guided(parts, "photo", "", 5).constant


def test_and_mixes_predictions_by_their_weights(host):
    found = guided(host.parts(), "a man AND " + "night, " * 60 + ":0.5", "", 4)
    assert len(found.at(0)) == 3
    assert found.at(0).shape[1] == 77 * 2
    without, first, second = torch.zeros(2, 4), torch.ones(2, 4), torch.full((2, 4), 3.0)
    assert torch.allclose(found.mixed(torch.cat([without, first, second]), 2.0), torch.full((2, 4), 2.0 + 3.0))
