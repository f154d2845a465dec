"""What is said about a set of photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from facechain_ext.faces import advice as A
from facechain_ext.faces.advice import Shown, advice, shown_of
from facechain_ext.faces.geometry import cut, plan
from facechain_ext.vision.insight import InsightAnalyzer

PLACES = np.eye(64, dtype=np.float32)


def shown(yaw: float = 0.0, place: int = 0, **other: float | bool) -> Shown:
    return replace(Shown(yaw, 0.0, 120.0, 0.0, PLACES[place], 0.42, False), **other)  # type: ignore[arg-type]


def varied(count: int) -> list[Shown]:
    return [shown((-30, 0, 25, 5)[i % 4], i, brightness=90.0 + 15 * (i % 5)) for i in range(count)]


def test_none_one_few_and_enough() -> None:
    assert advice([]) == ["No photo can be used. Add photos that show the face large, sharp and uncovered."]
    assert "enough to go on, but" in advice([shown()])[0]
    assert "4 to 14 more" in advice([shown()])[0]
    assert "4 photos are enough to go on" in advice(varied(4))[0]
    assert "1 to 11 more would help" in advice(varied(4))[0]
    assert advice(varied(12)) == ["12 photos are enough for a likeness that holds from other sides too."]
    assert "16 photos are plenty" in advice(varied(16))[0]


@pytest.mark.parametrize(
    ("yaws", "said"),
    [
        ([0] * 12, "3 more side views would help (all look straight at the camera)."),
        ([0] * 11 + [-30], "2 more side views would help (all but one look straight at the camera)."),
        ([0] * 10 + [-30, 25], "One more side view would help (all but 2 look straight at the camera)."),
        ([0, 0, 5, 10, 19], "2 more side views would help (all look straight at the camera)."),
        ([30, 30, 40, 25, 0, 0], "All side views show the same side of the face: one or two of the other side would help."),
        ([30, -30, 40, -25, 33], "No photo shows the face from the front: one or two would help."),
    ],
)
def test_views(yaws: list[float], said: str) -> None:
    assert said in advice([shown(yaw, i) for i, yaw in enumerate(yaws)])


def test_place_and_light() -> None:
    same = [shown(30 * (-1) ** i if i < 3 else 0, brightness=118.0 + i) for i in range(6)]
    assert any("same place and light" in line for line in advice(same))
    for other in (
        [replace(s, background=PLACES[i]) for i, s in enumerate(same)],
        [replace(s, brightness=60.0 + 30 * i) for i, s in enumerate(same)],
        [replace(s, light=-0.3 + 0.1 * i) for i, s in enumerate(same)],
    ):
        assert not any("same place" in line for line in advice(other))


def test_a_wrong_threshold_would_call_everything_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(A, "SAME_PLACE", -1.0)
    assert any("same place" in line for line in advice([shown(place=i) for i in range(5)]))


def test_grey_and_close_up() -> None:
    assert any(line.startswith("All photos are black and white") for line in advice([replace(s, grey=True) for s in varied(6)]))
    mixed = [replace(s, grey=i < 3) for i, s in enumerate(varied(6))]
    assert "3 of 6 photos are black and white: the portraits may turn out pale." in advice(mixed)
    assert any("little more than the face" in line for line in advice([replace(s, scale=0.7) for s in varied(6)]))


def of(image: np.ndarray, analyzer: InsightAnalyzer) -> Shown:
    face = analyzer.detect(image)[0]
    frame = plan(face, (image.shape[1], image.shape[0]), 2.4)
    return shown_of(cut(image, frame, 128), face, frame)


def test_shown_of_real_photos(orl: Path, astronaut: np.ndarray, analyzer: InsightAnalyzer) -> None:
    studio = [of(np.asarray(PIL.Image.open(orl / "s9" / f"{k}.pgm").convert("RGB")), analyzer) for k in (1, 2, 3, 4)]
    said = advice(studio)
    assert any("same place" in line for line in said)
    assert any("black and white" in line for line in said)
    seen = of(astronaut, analyzer)
    assert not seen.grey
    assert seen.scale == pytest.approx(1 / 2.4, rel=0.01)
    assert np.linalg.norm(seen.background) == pytest.approx(1, abs=1e-5)
    assert float(seen.background @ studio[0].background) < A.SAME_PLACE
    dark = np.linspace(1.0, 0.2, astronaut.shape[1])[None, :, None]
    assert of((astronaut * dark).astype(np.uint8), analyzer).light < seen.light - 0.03
    assert of((astronaut * 0.5).astype(np.uint8), analyzer).brightness < 0.6 * seen.brightness
    mirrored = of(np.ascontiguousarray(astronaut[:, ::-1]), analyzer)
    assert mirrored.light == pytest.approx(-seen.light, abs=0.05)
    assert mirrored.yaw == pytest.approx(-seen.yaw, abs=12)
