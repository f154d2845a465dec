"""Age and gender as a suggestion: how photos are put together, and the pack's own model through InsightFace."""

from __future__ import annotations

import shutil

import numpy as np
import PIL.Image
import pytest

from facechain_ext.config import PrepareConfig
from facechain_ext.faces.attributes import Attributes, Suggestion, suggest
from facechain_ext.faces.prepare import prepare
from facechain_ext.vision.insight import InsightAnalyzer
from facechain_ext.vision.packs import PACKS, SHIPPED


def of(gender, *ages):
    return [Attributes(gender, age) for age in ages]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([], None),
        (of("woman", 30, 34, 90), Suggestion("woman", "young", 34)),
        (of("man", 45), Suggestion("man", "middle-aged", 45)),
        (of("man", 70, 71), Suggestion("man", "old", 70)),
        (of("woman", 8, 9, 10), Suggestion("girl", "child", 9)),
        (of("man", 8) + of("woman", 9), Suggestion("child", "child", 8)),
        (of("man", 1, 2), Suggestion("baby", "baby", 2)),
        (of("man", 16, 17, 15), Suggestion("man", "teenager", 16)),
        (of("man", 30, 30) + of("woman", 30), Suggestion("person", "young", 30)),
        (of("man", 30, 30, 30) + of("woman", 30), Suggestion("man", "young", 30)),
    ],
)
def test_photos_agree_or_nothing_is_claimed(seen, expected):
    assert suggest(seen) == expected


@pytest.fixture(scope="module")
def telling(tmp_path_factory):
    """The shipped pack and beside it a model with the inputs and outputs of InsightFace's genderage: it says woman, and as age the brightness."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    folder = tmp_path_factory.mktemp("packs") / "telling"
    shutil.copytree(PACKS / SHIPPED, folder)
    weight = np.zeros((3, 3), np.float32)
    # InsightFace brings pixels to -1..1 for a model that does not do so itself.
    weight[2] = 1 / 6
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["fc1"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "genderage",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, [None, 3, 96, 96])],
        [helper.make_tensor_value_info("fc1", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1, 0, 0.5], np.float32), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "genderage.onnx")
    return InsightAnalyzer(folder, threads=1)


def test_the_packs_model_is_asked_through_insightface(telling, analyzer, astronaut):
    face = telling.detect(astronaut)[0]
    found, dark = telling.attributes(astronaut, face), telling.attributes(astronaut // 4, face)
    assert found.gender == "woman"
    assert 20 < found.age < 80
    assert dark.age == pytest.approx(found.age / 4, rel=0.15)
    # The shipped pack does not tell.
    assert analyzer.attributes(astronaut, face) is None


def test_the_suggestion_is_said_and_never_taken(telling, analyzer, astronaut, tmp_path):
    file = tmp_path / "a.png"
    PIL.Image.fromarray(astronaut).save(file)
    told = prepare([file], "Ann", telling, PrepareConfig(resolution=64))
    assert told.suggestion is not None
    assert told.suggestion.subject == "woman"
    assert any("'woman' is a better class word than 'person'" in line for line in told.advice)
    assert told.dataset is not None
    assert told.dataset.subject == "person"
    assert "woman" not in told.verdicts[0].caption
    same = prepare([file], "Ann", telling, PrepareConfig(resolution=64, subject="woman"))
    assert not any("class word" in line for line in same.advice)
    assert prepare([file], "Ann", analyzer, PrepareConfig(resolution=64)).suggestion is None
