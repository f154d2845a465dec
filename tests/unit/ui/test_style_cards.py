"""Styles as cards: own portraits where there are some, one chosen, a click that says which."""

from __future__ import annotations

from PIL import Image as PilImage

from facechain_ext.styles.catalog import Style
from facechain_ext.ui.style_cards import picked, style_cards

STYLES = [Style("plain", "Plain", "basic", "photo of {person}"), Style("ink", 'Ink "wash"', "art", "ink of {person}")]


def test_a_card_per_style_with_the_own_portrait_where_there_is_one(tmp_path):
    PilImage.new("RGB", (64, 64), "red").save(tmp_path / "best.png")
    html = style_cards(STYLES, {"ink": tmp_path / "best.png"}, "plain")
    plain, ink = html.split("<button")[1:]
    assert 'aria-pressed="true"' in plain
    assert "fc-swatch" in plain
    assert "basic" in plain
    assert 'aria-pressed="false"' in ink
    assert "data:image/" in ink
    assert "Ink &quot;wash&quot;" in ink
    # No folder of this machine in the page.
    assert str(tmp_path) not in html


def test_a_portrait_that_is_gone_is_a_colour(tmp_path):
    assert html_of(tmp_path).count("fc-swatch") == 2


def html_of(folder):
    return style_cards(STYLES, {"plain": folder / "gone.png"}, None)


def test_a_click_says_which_each_time():
    assert picked("oil-painting 1732400000000") == "oil-painting"
    assert picked("") == ""


def test_no_styles_no_cards():
    assert style_cards([], {}, None) == ""
