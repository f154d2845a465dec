"""The bust in every picture: a paper cut of somebody, in colours of the picture, so that it is nobody in particular."""

from __future__ import annotations

from facechain_ext.styles.drawn.canvas import Canvas, mixed
from facechain_ext.styles.drawn.clothes import WEAR, Tones, X
from facechain_ext.styles.drawn.headwear import BEHIND, HATS


def draw(canvas: Canvas, tones: Tones, wear: str, hat: str) -> None:
    """Head, hair and shoulders in the garment ``wear``, with ``hat`` on; empty strings for neither."""
    shade = mixed(tones.face, "#000000", 0.22)
    _shadow(canvas)
    if hat in BEHIND:
        BEHIND[hat](canvas, tones)
    canvas.curve([(X - 28, 47), (X - 23, 30), (X, 23), (X + 23, 30), (X + 28, 47), (X + 26, 66), (X + 20, 76), (X - 20, 76), (X - 26, 66)], tones.hair)
    canvas.curve([(X - 12, 72), (X + 12, 72), (X + 14, 100), (X, 112), (X - 14, 100)], shade)
    shoulders(canvas, tones.cloth)
    if wear:
        WEAR[wear](canvas, tones)
    canvas.curve([(X - 23, 44), (X - 19, 32), (X, 27), (X + 19, 32), (X + 23, 44), (X + 22, 62), (X + 14, 80), (X, 87), (X - 14, 80), (X - 22, 62)], tones.face)
    # The light comes from the left: a darker half with the profile of a nose.
    canvas.curve([(X + 2, 28), (X + 19, 32), (X + 23, 44), (X + 22, 62), (X + 14, 80), (X, 87), (X + 2, 79), (X + 4, 70), (X - 3, 66), (X + 3, 50)], shade, 0.55)
    canvas.curve([(X - 26, 52), (X - 25, 36), (X - 14, 25), (X + 4, 22), (X + 21, 30), (X + 26, 52), (X + 20, 40), (X + 6, 35), (X - 10, 38), (X - 21, 42)], tones.hair)
    if hat in HATS:
        HATS[hat](canvas, tones)


def shoulders(canvas: Canvas, colour: str, alpha: float = 1.0) -> None:
    """The garment's ground: shoulders down to the lower edge."""
    canvas.curve([(X - 13, 95), (X + 13, 95), (X + 38, 104), (X + 56, 118), (X + 64, 150), (X, 176), (X - 64, 150), (X - 56, 118), (X - 38, 104)], colour, alpha)


def _shadow(canvas: Canvas) -> None:
    for grow, alpha in ((7, 0.06), (4, 0.08), (2, 0.1)):
        canvas.ellipse((X + 4, 57), (25 + grow, 32 + grow), "#000000", alpha)
        canvas.curve([(X - 9, 95), (X + 17, 93), (X + 42 + grow, 102), (X + 60 + grow, 118), (X + 68 + grow, 150), (X, 176), (X - 60, 150)], "#000000", alpha)
