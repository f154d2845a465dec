"""Contact sheets: labelled pictures and a training curve on one page, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from facechain_ext.faces.types import Image
from facechain_ext.progress import LossPoint

PAPER, INK, FAINT, RULE, ACCENT, WARN = "#faf9f6", "#1f2328", "#6b7078", "#dcdad4", "#2f6f63", "#b4562d"
MARGIN, GAP, LABEL, WIDTH = 40, 16, 44, 1200


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture with up to two lines below."""

    image: Image
    label: str = ""
    small: str = ""
    flagged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A row (or rows) of pictures, or a curve when ``curve`` is given."""

    title: str
    tiles: Sequence[Labelled] = ()
    columns: int = 5
    curve: Sequence[LossPoint] = ()
    note: str = ""


def contact_sheet(person: str, tiles: Sequence[Labelled], subtitle: str = "", note: str = "") -> PilImage.Image:
    """One section: ``person``'s portraits, best first; ``note`` is a sentence about them all."""
    columns = min(max(2, len(tiles)), 4)
    title = "Portraits, most alike first"
    font = load_font(15)
    room = WIDTH - 2 * MARGIN - load_font(19).getlength(title) - 2 * GAP
    return draw_sheet(person, subtitle, [Section(title, tiles, columns, note=fitted(note, font, int(room)))])


def draw_sheet(title: str, subtitle: str, sections: Sequence[Section]) -> PilImage.Image:
    """The whole sheet, 1200 px wide, as high as its sections need."""
    heights = [_height(section) for section in sections]
    page = PilImage.new("RGB", (WIDTH, MARGIN + 84 + sum(heights) + MARGIN // 2), PAPER)
    pen = ImageDraw.Draw(page)
    for y, text, colour, size in ((-6, _drawable(title, "Portraits"), INK, 34), (40, _drawable(subtitle, ""), FAINT, 16)):
        pen.text((MARGIN, MARGIN + y), fitted(text, load_font(size), WIDTH - 2 * MARGIN), colour, load_font(size))
    top = MARGIN + 84
    for section, height in zip(sections, heights, strict=True):
        _draw_section(page, pen, section, top)
        top += height
    return page


def _tile_side(section: Section) -> int:
    return (WIDTH - 2 * MARGIN - (section.columns - 1) * GAP) // section.columns


def _tile_height(section: Section) -> int:
    """Less than the side where all pictures are wider than high."""
    side = _tile_side(section)
    return max((min(side, round(side * t.image.shape[0] / t.image.shape[1])) for t in section.tiles), default=side)


def _label_height(section: Section) -> int:
    return LABEL if any(t.label or t.small for t in section.tiles) else 0


def _height(section: Section) -> int:
    head = 46
    if section.curve:
        return head + 260 + 24
    rows = -(-len(section.tiles) // section.columns)
    return head + rows * (_tile_height(section) + _label_height(section) + GAP) + 8


def _draw_section(page: PilImage.Image, pen: ImageDraw.ImageDraw, section: Section, top: int) -> None:
    pen.line((MARGIN, top, WIDTH - MARGIN, top), RULE, 1)
    pen.text((MARGIN, top + 12), section.title, INK, load_font(19))
    if section.note:
        font = load_font(15)
        pen.text((WIDTH - MARGIN - pen.textlength(section.note, font), top + 15), section.note, FAINT, font)
    if section.curve:
        _draw_curve(pen, section.curve, (MARGIN, top + 50, WIDTH - MARGIN, top + 46 + 250))
        return
    side, high = _tile_side(section), _tile_height(section)
    for i, tile in enumerate(section.tiles):
        row, column = divmod(i, section.columns)
        x, y = MARGIN + column * (side + GAP), top + 46 + row * (high + _label_height(section) + GAP)
        _draw_tile(page, pen, tile, (x, y), (side, high))


def _draw_tile(page: PilImage.Image, pen: ImageDraw.ImageDraw, tile: Labelled, at: tuple[int, int], room: tuple[int, int]) -> None:
    picture = PilImage.fromarray(tile.image)
    scale = min(room[0] / picture.width, room[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    resized = picture.resize(size, PilImage.Resampling.LANCZOS)
    page.paste(resized, (at[0] + (room[0] - size[0]) // 2, at[1] + (room[1] - size[1]) // 2))
    if tile.flagged:
        pen.rectangle((at[0], at[1], at[0] + room[0] - 1, at[1] + room[1] - 1), outline=WARN, width=3)
    pen.text((at[0], at[1] + room[1] + 4), tile.label, WARN if tile.flagged else INK, load_font(17))
    pen.text((at[0], at[1] + room[1] + 24), tile.small, FAINT, load_font(13))


def _draw_curve(pen: ImageDraw.ImageDraw, curve: Sequence[LossPoint], box: tuple[int, int, int, int]) -> None:
    """Loss (left axis, raw faint and smoothed) and likeness of the previews (right axis, dots)."""
    left, top, right, bottom = box[0] + 56, box[1], box[2] - 56, box[3] - 30
    losses = [p.loss for p in curve]
    smooth = _smoothed(losses)
    high = max(max(smooth), sorted(losses)[int(0.98 * (len(losses) - 1))]) * 1.05 or 1.0
    last = max(p.step for p in curve)
    small = load_font(13)

    def at(step: float, share: float) -> tuple[float, float]:
        return left + (right - left) * step / max(1, last), bottom - (bottom - top) * min(1.0, max(0.0, share))

    for share in (0.0, 0.5, 1.0):
        y = at(0, share)[1]
        pen.line((left, y, right, y), RULE, 1)
        pen.text((left - 50, y - 8), f"{high * share:.3f}", FAINT, small)
        pen.text((right + 12, y - 8), f"{share:.1f}", ACCENT, small)
    pen.line([at(p.step, p.loss / high) for p in curve] or [(0, 0)], "#d3d5d8", 1)
    pen.line([at(p.step, s / high) for p, s in zip(curve, smooth, strict=True)], INK, 3, joint="curve")
    scored = [(at(p.step, p.likeness), p.likeness) for p in curve if p.likeness is not None]
    if len(scored) > 1:
        pen.line([point for point, _ in scored], ACCENT, 2)
    for (x, y), likeness in scored:
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), ACCENT)
        pen.text((x - 14, y - 24), f"{likeness:.2f}", ACCENT, small)
    pen.text((left, bottom + 10), "loss (left)", INK, small)
    pen.text((left + 90, bottom + 10), "likeness of previews (right)", ACCENT, small)
    said = f"{last} steps"
    pen.text((right - pen.textlength(said, small), bottom + 10), said, FAINT, small)


def _smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a twentieth of the curve, without the bias of its start."""
    keep = 1 - 1 / max(2.0, len(values) / 20)
    total, weight, out = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight)
    return out


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, ``size`` px high where Pillow can."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1, as A1111 pins it, has one size only
        return ImageFont.load_default()


def _drawable(text: str, instead: str) -> str:
    """``text`` on one line. Pillow's built-in font knows Latin only; boxes in place of a name would be worse than no name."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return instead
    return " ".join(text.split())


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """``text``, shortened with an ellipsis when it is wider than ``width`` px."""
    if font.getlength(text) <= width:
        return text
    # Halving: measuring takes as long as the text, and a prompt may hold thousands of characters.
    fits, beyond = 0, len(text)
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        fits, beyond = (middle, beyond) if font.getlength(text[:middle] + "...") <= width else (fits, middle)
    return text[:fits] + "..."
