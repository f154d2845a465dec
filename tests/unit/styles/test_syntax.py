"""The WebUI's prompt syntax, against its documentation's own examples and what it is known to do."""

from __future__ import annotations

import pytest

from facechain_ext.styles.syntax import joined_by_and, stretches, weighted


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("((a)) [b] [[c]]", [("a", 1.21), (" ", 1), ("b", 0.9091), (" ", 1), ("c", 0.8264)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("literal \\(brackets\\) \\\\", [("literal (brackets) \\", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("a (house:1.3) on a ((hill:0.5), sun)", [("a ", 1), ("house", 1.3), (" on a ", 1), ("hill", 0.55), (", sun", 1.1)]),
        ("(a: -0.5 )", [("a", -0.5)]),
        ("time 12:30)", [("time 12:30)", 1)]),
        ("[a:1.2)", [("a:1.2)", 0.9091)]),
        ("[a (b] c)", [("a ", 0.9091), ("b", 1.0), (" c", 1.1)]),
        ("(a:1.2.3)", [("a:1.2.3)", 1.1)]),
        ("a BREAK b", [("a", 1), ("BREAK", -1), ("b", 1)]),
        ("(a BREAK b)", [("a", 1.1), ("BREAK", -1.1), ("b", 1.1)]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("", [("", 1)]),
    ],
)
def test_weights(prompt, pieces):
    found = [(p.text, round(p.weight, 4)) for p in weighted(prompt)]
    assert found == pieces


def test_break_is_a_word_in_brackets():
    assert [p.new_chunk for p in weighted("a BREAK (b BREAK c)")] == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("prompt", "stretched"),
    [
        ("test", [(10, "test")]),
        ("a [b:3]", [(3, "a "), (10, "a b")]),
        ("a [b: .25 ]", [(2, "a "), (10, "a b")]),
        ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("[gone::0.5] stays", [(5, "gone stays"), (10, " stays")]),
        ("a [unbalanced", [(10, "a [unbalanced")]),
        ("[b:0] [c:99]", [(10, "b ")]),
        ("[fe|]male", [(i, "female" if i % 2 else "male") for i in range(1, 11)]),
        ("\\[a:b:3\\]", [(10, "\\[a:b:3\\]")]),
        ("a | b [c:3]", [(10, "a | b [c:3]")]),
        ("([a|b]:1.2)", [(i, "(a:1.2)" if i % 2 else "(b:1.2)") for i in range(1, 11)]),
    ],
)
def test_words_that_change(prompt, stretched):
    assert [(s.last, s.prompt) for s in stretches(prompt, 10)] == stretched


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a cat", [("a cat", 1)]),
        ("a cat :1.2 AND a dog AND a penguin :-2.2", [("a cat", 1.2), (" a dog", 1), (" a penguin", -2.2)]),
        ("GRAND", [("GRAND", 1)]),
        ("(a cat:1.2)", [("(a cat:1.2)", 1)]),
    ],
)
def test_prompts_joined_by_and(prompt, parts):
    assert [(p.text, p.weight) for p in joined_by_and(prompt)] == parts
