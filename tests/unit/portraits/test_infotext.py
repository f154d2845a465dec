"""Generation parameters, read back the way the WebUI does: words, "Negative prompt:", then one line of fields."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage

from facechain_ext.portraits.infotext import infotext, lora_tags, read_infotext, save_png
from facechain_ext.ports import CheckpointInfo, Family, LoraWeight, Prediction, SamplingRequest

CHECKPOINT = CheckpointInfo("tiny-faces", "0123456789abcdef" * 4, Family.SD1, Prediction.EPS, 128)
REQUEST = SamplingRequest("photo of sks person", "", (7, 8), 128, 192, 20, 6.5, "DPM++ 2M Karras")


def parse(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and fields; a value in quotes is a JSON string, as in the WebUI since 1.0."""
    *words, line = text.strip().split("\n")
    cut = next((i for i, w in enumerate(words) if w.startswith("Negative prompt:")), len(words))
    negative = "\n".join(words[cut:]).removeprefix("Negative prompt:").strip()
    fields: dict[str, str] = {}
    while line:
        key, _, line = line.partition(": " if ": " in line else ":")
        if line.startswith('"'):
            fields[key], end = json.JSONDecoder().raw_decode(line)
        else:
            end = line.find(",") if "," in line else len(line)
            fields[key] = line[:end]
        assert line[end : end + 2] in ("", ", "), f"{key} ends in the middle of something: {line!r}"
        line = line[end + 2 :]
    return "\n".join(words[:cut]), negative, fields


def test_the_fields_have_the_webuis_names():
    text = infotext(REQUEST, 1, CHECKPOINT, {"FaceChain rank": "1 of 2"})
    assert text == (
        "photo of sks person\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 8, Size: 128x192, "
        "Model hash: 0123456789, Model: tiny-faces, Batch size: 2, Batch pos: 1, FaceChain rank: 1 of 2"
    )


def test_a_sampler_without_schedule_names_none():
    request = SamplingRequest("x", "bad", (1,), 64, 64, 1, 7.0, "Euler a")
    prompt, negative, fields = parse(infotext(request, 0, CHECKPOINT, {}))
    assert (prompt, negative, fields["Sampler"], fields["CFG scale"]) == ("x", "bad", "Euler a", "7")
    assert "Schedule type" not in fields


def test_loras_become_tags():
    both = (LoraWeight(Path("a/Ada.safetensors"), 0.9, 0.9), LoraWeight(Path("b/oil.safetensors"), 1.0, 0.25))
    assert lora_tags(both) == " <lora:Ada:0.9> <lora:oil:0.25:1>"
    request = SamplingRequest("photo", "", (1,), 64, 64, 1, 7.0, "DDIM", both)
    assert parse(infotext(request, 0, CHECKPOINT, {}))[0] == "photo <lora:Ada:0.9> <lora:oil:0.25:1>"


values = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]) | st.sampled_from(list(',:"\\\n\t')), max_size=30
)


@given(values, values)
def test_any_value_comes_back(name, extra):
    checkpoint = CheckpointInfo(name, "f" * 64, Family.SD1, Prediction.EPS, 128)
    fields = parse(infotext(REQUEST, 0, checkpoint, {"Note": extra, "Last": "end"}))[2]
    assert (fields["Model"], fields["Note"], fields["Last"], fields["Seed"]) == (name, extra, "end", "7")


@pytest.mark.parametrize("value", ['oil, "thick"', "C:\\faces\\", "two\nlines", '"quoted"', "", "Ünïcödé, 名前"])
def test_awkward_values_come_back(value):
    assert parse(infotext(REQUEST, 0, CHECKPOINT, {"Note": value}))[2]["Note"] == value


@given(st.text(st.sampled_from('abc ,:()<>"'), min_size=1).map(str.strip).filter(bool), st.lists(st.sampled_from(["blur", "two, faces"])))
def test_the_words_come_back(prompt, negatives):
    request = SamplingRequest(prompt, "\n".join(negatives), (1,), 64, 64, 1, 7.0, "DDIM")
    assert parse(infotext(request, 0, CHECKPOINT, {}))[:2] == (prompt, "\n".join(negatives))


@pytest.mark.parametrize("text", ["plain ascii\nSteps: 1", "李小龙, café\nSteps: 1", 'a "b", c: d'])
def test_a_png_keeps_picture_and_text_and_nothing_else(text, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
    file = tmp_path / "new" / "portrait.png"
    save_png(image, file, text)
    assert read_infotext(file) == text
    with PilImage.open(file) as stored:
        assert set(stored.info) == {"parameters"}
        assert (np.asarray(stored) == image).all()
    assert [p.name for p in file.parent.iterdir()] == ["portrait.png"]


def test_a_png_without_parameters_gives_none(tmp_path):
    file = tmp_path / "other.png"
    PilImage.new("RGB", (4, 4)).save(file)
    assert read_infotext(file) == ""
