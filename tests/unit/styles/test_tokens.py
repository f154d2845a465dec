"""Tokens are counted as CLIP's own tokenizer counts them."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.styles.tokens import CHUNK, MERGES, chunks, count, spoken


@functools.cache
def tokenizer() -> Any:
    return pytest.importorskip("transformers").CLIPTokenizer.from_pretrained(MERGES.parent)


@pytest.mark.parametrize(
    "text", ["photo of sks woman, 35mm film", "don't! we'll see, it's Zoë Ångström's", "東京タワー 日本", "a_b__c--d,,e 1999", "hanbok dirndl kebaya isiagu"]
)
def test_known_sentences(text):
    assert count(text) == len(tokenizer()(text, add_special_tokens=False).input_ids)


@settings(max_examples=150, deadline=None)
@given(st.text("abcdefgxyzéß '-_,.!?0123456789 ", max_size=60))
def test_any_text(text):
    assert count(text) == len(tokenizer()(text, add_special_tokens=False).input_ids)


def test_what_the_webui_does_not_say_is_not_counted():
    assert spoken(r"a (red:1.2) \(big\) [hat] <lora:x:0.8>") == "a red (big) hat "
    assert count("(red scarf:1.25)") == count("red scarf")


def test_chunks():
    assert chunks("") == (0,)
    assert chunks("a BREAK b c") == (1, 2)
    assert chunks("a " * 80) == (CHUNK, 5)
    assert chunks("a " * 75) == (CHUNK,)
    assert chunks("BREAKFAST") == (count("BREAKFAST"),), "only the word itself"
