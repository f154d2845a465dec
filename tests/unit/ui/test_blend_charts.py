"""The charts of a blend: every block and step where it belongs, valid SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from facechain_ext.blend import parse_plan
from facechain_ext.ui.blend_charts import blend_chart, block_name, by_block, legend, over_steps


def drawn(plan: str, blocks: int = 25, steps: int = 20) -> ElementTree.Element:
    parts = [(f"lora-{part.role}", part) for part in parse_plan(plan).parts]
    return ElementTree.fromstring(blend_chart(parts, blocks, steps))


def bars(root: ElementTree.Element, role: str) -> list[float]:
    return [float(rect.attrib["height"]) for rect in root.iter("rect") if rect.attrib["class"] == f"fc-bar-{role}"]


def test_each_block_has_its_bar():
    root = drawn("face 1 + style 0.5 blocks 1*3|0*19|1*3")
    face, style = bars(root, "face"), bars(root, "style")
    assert len(face) == len(style) == 25
    assert len(set(face)) == 1
    assert style[:3] == style[-3:] == [pytest.approx(face[0] / 2, abs=0.1)] * 3
    assert max(style[3:-3]) < 1
    titles = [t.text for t in root.iter("title")]
    assert {"in 0: 1", "middle: 1", "out 11: 0.5"} <= set(titles)


def test_a_schedule_is_seen_over_the_steps():
    root = drawn("face 0.9 steps 0.5>1@0.2-0.6 cosine + style 1 steps 1>0@0-1 linear")
    lines = {line.attrib["class"]: [float(p.split(",")[1]) for p in line.attrib["points"].split()] for line in root.iter("polyline")}
    assert lines["fc-line-face"][0] > lines["fc-line-face"][-1], "higher weights lie further up"
    assert lines["fc-line-style"] == sorted(lines["fc-line-style"])


def test_values_are_those_of_the_plan():
    part = parse_plan("face 0.9 steps 0.5>1@0.5-0.5 step").parts[0]
    assert over_steps(part, 2) == [pytest.approx(0.45), pytest.approx(0.9)]
    assert by_block(part, 19) == [pytest.approx(0.9)] * 19
    assert [block_name(i, 19) for i in (0, 9, 18)] == ["in 0", "middle", "out 8"]


@pytest.mark.parametrize("plan", ["face 0", "face -1 + style 4", "face 1 + style 0.5 blocks 0*19"])
@pytest.mark.parametrize(("blocks", "steps"), [(25, 1), (19, 200)])
def test_nothing_leaves_the_frame(plan, blocks, steps):
    root = drawn(plan, blocks, steps)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for rect in root.iter("rect"):
        x, y, w, h = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    for line in root.iter("polyline"):
        assert all(0 <= float(p.split(",")[1]) <= height for p in line.attrib["points"].split())


def test_the_legend_says_weights():
    parts = [("a<b", parse_plan("face 0.8/0.4").parts[0])]
    assert "a&lt;b <b>0.8</b>, text 0.4" in legend(parts)
