"""What a checkpoint's UNet predicts, and whether its noise reaches zero signal: weights do not tell, so others are asked, the surest first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facechain_ext.hosts.standalone.inspection import whole_header
from facechain_ext.hosts.standalone.sidecar import SUFFIX, Sidecar
from facechain_ext.ports import Family, Prediction

V_MARK, ZERO_SNR_MARK = "v_pred", "ztsnr"
"""Tensors without content that trainers put into a checkpoint, as the WebUI's and ComfyUI's loaders read them."""
V_IN_YAML = re.compile(r"^\s*parameterization:\s*[\"']?v[\"']?\s*$|VScaling\b", re.MULTILINE)
"""In the configuration of a WebUI, LDM's or Stability's."""
SAID = {Prediction.EPS: "noise (eps)", Prediction.V: "velocity (v)"}
FAMILIES = {Family.SD1: "Stable Diffusion 1", Family.SD2: "Stable Diffusion 2", Family.SDXL: "SDXL"}


@dataclass(frozen=True, slots=True)
class Parameterisation:
    """What the UNet predicts."""

    prediction: Prediction | None
    """None: nobody says, and the weights must be tried."""
    zero_terminal_snr: bool
    """Whether the last timestep holds noise only (Lin et al. 2023)."""
    source: str
    """Who says so, for a sentence."""
    guessed: bool = False
    """True when nobody says so."""

    def sentence(self, family: Family) -> str:
        """What was found out or assumed, for people."""
        if self.prediction is None:
            return f"{FAMILIES[family]}; whether it predicts noise or velocity is tried when it is opened."
        ending = ", its noise reaches zero signal" if self.zero_terminal_snr else ""
        return f"{FAMILIES[family]} that predicts {SAID[self.prediction]}{ending}: {self.source}."

    def assumption(self, family: Family) -> str:
        """The sentence when it is a guess that can be wrong, else nothing."""
        if not self.guessed:
            return ""
        return f'{self.sentence(family)} If pictures come out as noise, say the other in a file NAME{SUFFIX} beside it: "prediction": "eps" or "v".'


USUAL = Parameterisation(Prediction.EPS, False, "assumed, as nearly all of them do")


def parameterisation(file: Path, family: Family, sidecar: Sidecar) -> Parameterisation:
    """What is known about ``file`` without loading it.

    Raises:
        FileFormatError: when it is not a safetensors file.
    """
    header = whole_header(file)
    found, source = _stated(file, family, sidecar, header.shapes, header.metadata)
    if sidecar.zero_terminal_snr is not None:
        return Parameterisation(found, sidecar.zero_terminal_snr, source)
    return Parameterisation(found, ZERO_SNR_MARK in header.shapes, source)


def _stated(
    file: Path, family: Family, sidecar: Sidecar, shapes: Mapping[str, Any], metadata: Mapping[str, str]
) -> tuple[Prediction | None, str]:
    if sidecar.prediction is not None:
        return sidecar.prediction, f"{file.stem}{SUFFIX} says so"
    beside = file.with_suffix(".yaml")
    if beside.is_file():
        velocity = V_IN_YAML.search(beside.read_text(encoding="utf-8", errors="replace"))
        return Prediction.V if velocity else Prediction.EPS, f"{beside.name} says so"
    if V_MARK in shapes:
        return Prediction.V, f"the file is marked so ({V_MARK})"
    named = metadata.get("modelspec.prediction_type", "").lower()
    if named in ("v", "v_prediction", "epsilon"):
        return Prediction.EPS if named == "epsilon" else Prediction.V, "its metadata says so"
    if family is not Family.SD2:
        return USUAL.prediction, USUAL.source
    return None, ""
