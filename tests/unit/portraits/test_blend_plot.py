"""The plot of the blend bench shows what it is given, where it belongs."""

import numpy as np
from PIL import ImageColor

from facechain_ext.portraits.blend_plot import BlendCurve, draw_blends
from facechain_ext.portraits.sheet import ACCENT, WARN, WIDTH

OURS = BlendCurve("default", [(0.2, 0.5, "0.75"), (0.4, 0.45, "0.5")], "ours")
RIVAL = BlendCurve("plain sum", [(0.1, 0.45, "0.4"), (0.4, 0.1, "0.8")], "rival")


def places(page, colour):
    """Mean (x, y) of the pixels of ``colour`` in the upper panel, where the curves are."""
    found = np.argwhere((np.asarray(page)[:500] == np.array(ImageColor.getrgb(colour))).all(-1))
    return found.mean(axis=0)[::-1]


def test_more_likeness_lies_higher_and_more_style_further_right():
    page = draw_blends("Title", {"ink": [RIVAL, OURS]})
    (ours_x, ours_y), (rival_x, rival_y) = places(page, ACCENT), places(page, WARN)
    assert ours_y < rival_y
    assert ours_x > rival_x
    assert page.width == WIDTH


def test_every_style_has_a_panel_and_every_way_its_colour_in_all_of_them():
    one, two, three = (draw_blends("Title", {f"style {i}": [RIVAL, OURS] for i in range(n)}) for n in (1, 2, 3))
    assert one.height == two.height < three.height
    many = draw_blends("Title", {"ink": [BlendCurve(f"way {i}", [(0.1 * i, 0.5, "1")]) for i in range(8)]})
    assert len({tuple(c) for c in np.asarray(many)[-100:].reshape(-1, 3)}) > 8


def test_a_single_point_and_an_empty_panel_can_be_drawn():
    assert draw_blends("T", {"ink": [BlendCurve("one", [(0.0, 0.0, "")])], "none": []}).width == WIDTH


def test_labels_stay_below_the_title_and_off_each_other():
    crowd = [BlendCurve(f"way number {i}", [(0.05 + 0.01 * i, 0.58 - 0.004 * i, "")], "bound") for i in range(6)]
    alone = np.asarray(draw_blends("T", {"ink": [OURS]}), dtype=int)
    page = np.asarray(draw_blends("T", {"ink": [OURS, *crowd]}), dtype=int)
    # The title of the panel is the same to the pixel.
    assert (alone[100:122, :560] == page[100:122, :560]).all()
