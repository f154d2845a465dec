"""What the blend bench compares: ways to put a face and a style LoRA together, each at several strengths."""

from __future__ import annotations

from dataclasses import dataclass

from facechain_ext.blend import FACE, STYLE, BlendPlan, Part, Schedule, outer_blocks, plain_sum

WITHOUT, WITHOUT_GUIDED = "no style", "no style, face guided"
FACECHAIN, PLAIN_SUM, DEFAULT, AUTO = "FaceChain's plain sum", "plain sum", "default", "auto-balance"
LATE = Schedule(0, 1, 0.2, 0.5, "cosine")
SLIDER = (0.75, 0.5, 0.25)
"""Positions of 'more style … more me', from more of the person to more style."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way at one strength."""

    method: str
    strength: str
    plan: str = ""
    """As ``BlendPlan``'s text; empty where the slider decides."""
    merge: str = ""
    """The method of ``lora.fuse`` that makes one file of both, with the plan's weights; empty blends while generating."""
    balance: float | None = None
    """The slider's position, where it decides."""
    with_words: bool = True
    """The style's own words; else those it says where its LoRA acts."""

    @property
    def styled(self) -> bool:
        """False for portraits without the style."""
        return self.method not in (WITHOUT, WITHOUT_GUIDED)


def recipes(face: float, guided: float, blocks: int) -> tuple[Recipe, ...]:
    """Everything that is compared, for a face LoRA of weight ``face`` that is ``guided`` so many times and a UNet of so many ``blocks``."""
    finest = outer_blocks(blocks, 1)

    def both(style: float, **more: object) -> str:
        return str(BlendPlan((Part(FACE, face), Part(STYLE, style, **more))))  # type: ignore[arg-type]

    found = [
        Recipe(WITHOUT, "", f"{FACE} {face:g}", with_words=False),
        Recipe(WITHOUT_GUIDED, f"{guided:g}", str(Part(FACE, face, guided=guided)), with_words=False),
        # The weights of most of FaceChain's own styles (multiplier_human, multiplier_style).
        Recipe(FACECHAIN, "0.35", str(plain_sum(0.95, 0.35))),
        *(Recipe(PLAIN_SUM, f"{w:g}", both(w)) for w in (0.4, 0.8, 1.2, 1.6)),
        *(Recipe(DEFAULT, f"slider {b:g}", balance=b, with_words=False) for b in SLIDER),
        *(Recipe("style in the finest blocks", f"{w:g}", both(w, blocks=finest)) for w in (0.8, 1.6)),
        *(Recipe("style late", f"{w:g}", both(w, schedule=LATE)) for w in (0.8, 1.6)),
        *(Recipe("layer by layer (K-LoRA)", f"{w:g}", both(w), "choice") for w in (1.0, 1.6)),
        Recipe("plain sum, face guided", "0.8", str(BlendPlan((Part(FACE, face, guided=guided), Part(STYLE, 0.8))))),
        Recipe(AUTO, "slider 0.5", balance=0.5, with_words=False),
    ]
    return tuple(found)
