"""Whatever is wrong with a checkpoint's header or its sidecar, the user reads a sentence about it."""

import json
import struct

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.inspection import CONTEXT_KEY, UNET, inspect, read_header
from facechain_ext.hosts.standalone.sidecar import read_sidecar

TINY = SHIPPED / "tiny-faces.safetensors"
CONV_IN = UNET + "input_blocks.0.0.weight"


def tensor(*shape, offsets=(0, 2)):
    return {"dtype": "F16", "shape": list(shape), "data_offsets": list(offsets) if isinstance(offsets, tuple) else offsets}


def written(folder, header, body=2):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = folder / "x.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * body)
    return file


@pytest.mark.parametrize(
    "header",
    [
        {"a": tensor(1, offsets=())},
        {"a": tensor(1, offsets=(0, "x"))},
        {"a": tensor(1, offsets="ab")},
        {"a": tensor(1, offsets=(0, None))},
        {"a": {"dtype": "F16", "shape": 3, "data_offsets": [0, 2]}},
        {"a": 1},
        b"[" * 150_000 + b"]" * 150_000,
        b'{"a": \xff}',
    ],
    ids=["no offsets", "text offset", "text offsets", "empty offset", "shape a number", "no entry", "nested without end", "not UTF-8"],
)
def test_a_malformed_header_is_no_safetensors_file(header, tmp_path):
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        inspect(written(tmp_path, header))


@pytest.mark.parametrize(
    "entries",
    [{}, {CONV_IN: tensor(1)}, {CONV_IN: tensor()}, {CONV_IN: tensor(32, 4, 3, 3)}],
    ids=["no first layer", "flat first layer", "scalar first layer", "nothing but the first layer"],
)
def test_an_incomplete_unet_is_said(entries, tmp_path):
    with pytest.raises(FileFormatError, match="lacks parts"):
        inspect(written(tmp_path, {CONTEXT_KEY: tensor(8, 768)} | entries))


def test_each_part_that_is_missing_is_noticed(tmp_path):
    whole = {k: tensor(*shape) for k, shape in read_header(TINY).items()}
    assert inspect(written(tmp_path, whole)) == inspect(TINY)
    for part in (UNET, "first_stage_model.", "cond_stage_model."):
        with pytest.raises(FileFormatError):
            inspect(written(tmp_path, {k: v for k, v in whole.items() if not k.startswith(part)}))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0, 3000))
def test_flipped_and_cut_headers_are_read_or_refused(tmp_path_factory, changes, cut):
    with TINY.open("rb") as source:
        data = bytearray(source.read(3000))
    for place, value in changes:
        data[min(place, len(data) - 1)] = value
    file = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    file.write_bytes(data[: 3000 - cut])
    with pytest.raises(FileFormatError, match=r"flipped\.safetensors"):
        inspect(file)


def sidecar(folder, text):
    (folder / "x.facechain.json").write_text(text)
    return read_sidecar(folder / "x.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1, "train": []}',
        '{"schema": 1, "train": "fast"}',
        '{"schema": 1, "portrait": [1]}',
        '{"schema": 1, "prepare": null}',
        '{"schema": 1, "train": {"stepz": 3}}',
        '{"schema": 1, "resolution": Infinity}',
        '{"schema": 1, "resolution": "wide"}',
        '{"schema": 1, "unet_heads": [8]}',
        '{"schema": 1, "resolution": 100}',
        '{"schema": 1, "resolution": -8}',
        '{"schema": 1, "unet_heads": 0}',
        '{"schema": 1, "unet_heads": -2}',
        '{"schema": 1, "text_heads": -1}',
    ],
)
def test_wrong_values_in_a_sidecar_are_damage(text, tmp_path):
    with pytest.raises(FileFormatError, match=r"x\.facechain\.json is damaged"):
        sidecar(tmp_path, text)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unet_heads": 8}', '{"schema": "1"}'])
def test_other_files_named_like_a_sidecar_are_refused(text, tmp_path):
    with pytest.raises(FileFormatError, match=r"x\.facechain\.json"):
        sidecar(tmp_path, text)


def test_a_newer_sidecar_asks_for_an_update(tmp_path):
    with pytest.raises(FileFormatError, match="Update FaceChain"):
        sidecar(tmp_path, '{"schema": 99}')


def test_a_sidecars_values_are_taken(tmp_path):
    found = sidecar(
        tmp_path,
        '{"schema": 1, "note": "n", "resolution": 128, "unet_heads": 2, "text_heads": 4, "train": {"steps": 7}, "portrait": {"cfg": 2}}',
    )
    assert (found.note, found.resolution, found.unet_heads, found.text_heads) == ("n", 128, 2, 4)
    assert (found.train.steps, found.portrait.cfg) == (7, 2)
