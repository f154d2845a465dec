"""Every kind of update is what its formula says, its factors are its difference, and files of every kind are read."""

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import read_lora
from facechain_ext.lora.kinds import update_from
from facechain_ext.ports import Family

LINEAR, CONV, POINT = (12, 8), (12, 8, 3, 3), (12, 8, 1, 1)


def drawn(seed=0, **shapes):
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def by_hand(kind, t, shape, scale):
    """The formulas element by element, apart from the code under test."""
    out, inner, kernel = shape[0], shape[1], shape[2:]
    found = torch.zeros(shape)
    if kind == "tucker":
        return scale * torch.einsum("or,rskl,si->oikl", t["up"][:, :, 0, 0], t["mid"], t["down"][:, :, 0, 0])
    if kind == "loha":
        for o in range(out):
            row = (t["hada_w1_a"][o] @ t["hada_w1_b"]) * (t["hada_w2_a"][o] @ t["hada_w2_b"])
            found[o] = row.reshape(inner, *kernel)
        return scale * found
    if kind == "loha core":
        one, two = (torch.einsum("rskl,ro,si->oikl", t[f"hada_t{i}"], t[f"hada_w{i}_a"], t[f"hada_w{i}_b"]) for i in (1, 2))
        return scale * one * two
    w1 = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
    if "lokr_t2" in t:
        w2 = torch.einsum("rskl,ro,si->oikl", t["lokr_t2"], t["lokr_w2_a"], t["lokr_w2_b"])
    else:
        w2 = t["lokr_w2"] if "lokr_w2" in t else t["lokr_w2_a"] @ t["lokr_w2_b"].flatten(1)
    w2 = w2.reshape(out // w1.shape[0], inner // w1.shape[1], *kernel)
    for a in range(w1.shape[0]):
        for b in range(w1.shape[1]):
            o, i = w2.shape[0], w2.shape[1]
            found[a * o : (a + 1) * o, b * i : (b + 1) * i] = w1[a, b] * w2
    return scale * found


CASES = [
    ("tucker", CONV, {"down": (4, 8, 1, 1), "mid": (4, 4, 3, 3), "up": (12, 4, 1, 1)}, 2.0, 0.5),
    ("loha", LINEAR, {"hada_w1_a": (12, 1), "hada_w1_b": (1, 8), "hada_w2_a": (12, 2), "hada_w2_b": (2, 8)}, 3.0, 3.0),
    ("loha", CONV, {"hada_w1_a": (12, 3), "hada_w1_b": (3, 72), "hada_w2_a": (12, 3), "hada_w2_b": (3, 72)}, None, 1.0),
    (
        "loha core",
        CONV,
        {
            "hada_w1_a": (2, 12),
            "hada_w1_b": (2, 8),
            "hada_t1": (2, 2, 3, 3),
            "hada_w2_a": (2, 12),
            "hada_w2_b": (2, 8),
            "hada_t2": (2, 2, 3, 3),
        },
        1.0,
        0.5,
    ),
    ("lokr", LINEAR, {"lokr_w1": (3, 2), "lokr_w2": (4, 4)}, 5.0, 1.0),
    ("lokr", LINEAR, {"lokr_w1": (3, 2), "lokr_w2_a": (4, 1), "lokr_w2_b": (1, 4)}, 2.0, 2.0),
    ("lokr", CONV, {"lokr_w1_a": (3, 1), "lokr_w1_b": (1, 2), "lokr_w2": (4, 4, 3, 3)}, 0.5, 0.5),
    ("lokr", CONV, {"lokr_w1": (3, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 36)}, 2.0, 1.0),
    ("lokr", CONV, {"lokr_w1": (3, 2), "lokr_t2": (2, 2, 3, 3), "lokr_w2_a": (2, 4), "lokr_w2_b": (2, 4)}, 2.0, 1.0),
    ("lokr", POINT, {"lokr_w1": (3, 2), "lokr_w2_a": (4, 1), "lokr_w2_b": (1, 4)}, 1.0, 1.0),
]


@pytest.mark.parametrize(("kind", "shape", "parts", "alpha", "scale"), CASES)
def test_differences_are_those_of_the_formula(kind, shape, parts, alpha, scale):
    tensors = drawn(**parts)
    update = update_from(tensors, alpha)
    weight = torch.randn(shape)
    assert torch.allclose(update.delta(weight), by_hand(kind, tensors, shape, scale), atol=1e-5)
    assert update.shape in (shape, (12, 72), (12, 8))
    pair = update.factors(weight)
    if pair is not None:
        down, up = pair
        assert torch.allclose((up @ down.flatten(1)).view(shape), update.delta(weight), atol=1e-5)


def test_small_lohas_and_lokrs_have_factors():
    big = torch.randn(64, 48)
    loha = update_from(drawn(hada_w1_a=(64, 3), hada_w1_b=(3, 48), hada_w2_a=(64, 4), hada_w2_b=(4, 48)), 3.0)
    lokr = update_from(drawn(lokr_w1=(8, 4), lokr_w2_a=(8, 2), lokr_w2_b=(2, 12)), 1.0)
    for update, rank in ((loha, 12), (lokr, 8)):
        down, up = update.factors(big)
        assert up.shape == (64, rank)
        assert torch.allclose(up @ down, update.delta(big), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "magnitude", "axis"), [(LINEAR, (12, 1), 1), (LINEAR, (1, 8), 0), (LINEAR, (12,), 1), (CONV, (12, 1, 1, 1), 1)]
)
def test_dora_gives_rows_or_columns_their_length(shape, magnitude, axis):
    tensors = drawn(down=(2, *shape[1:]), up=(12, 2, *[1] * (len(shape) - 2)), dora_scale=magnitude)
    tensors["dora_scale"] = tensors["dora_scale"].abs() + 0.5
    weight = torch.randn(shape)
    changed = weight + update_from(tensors, 2.0).delta(weight)
    lengths = changed.flatten(1).norm(dim=1) if axis else changed.transpose(0, 1).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, tensors["dora_scale"].flatten(), atol=1e-4)


def test_parts_that_do_not_fit_the_layer_are_refused():
    for tensors in (drawn(down=(2, 9), up=(12, 2)), drawn(hada_w1_a=(12, 1), hada_w1_b=(1, 9), hada_w2_a=(12, 1), hada_w2_b=(1, 9))):
        with pytest.raises((ValueError, RuntimeError)):
            update_from(tensors, None).delta(torch.zeros(12, 8))


PATH = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (f"unet.{PATH}.lora_A.weight", f"unet.{PATH}.lora_B.weight"),
        (f"unet.{PATH}.lora.down.weight", f"unet.{PATH}.lora.up.weight"),
        (f"base_model.model.{PATH}.lora_A.weight", f"base_model.model.{PATH}.lora_B.weight"),
        (
            f"unet.{PATH.replace('.to_k', '')}.processor.to_k_lora.down.weight",
            f"unet.{PATH.replace('.to_k', '')}.processor.to_k_lora.up.weight",
        ),
    ],
)
def test_pefts_and_diffusers_keys_are_read(tmp_path, down, up):
    save_file({down: torch.ones(4, 768), up: torch.ones(320, 4)}, tmp_path / "x.safetensors")
    lora = read_lora(tmp_path / "x.safetensors")
    assert list(lora.modules) == [KOHYA]
    assert lora.family is Family.SD1
    assert float(lora.modules[KOHYA].delta(torch.zeros(320, 768)).mean()) == 4


def test_sdxl_in_diffusers_keys_gets_ldms_names(tmp_path):
    path = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    text = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"
    tensors = {
        f"{p}.lora_{half}.weight": torch.ones(s) for p, s in ((path, 2048), (text, 1280)) for half, s in (("A", (2, s)), ("B", (64, 2)))
    }
    save_file(tensors, tmp_path / "x.safetensors")
    lora = read_lora(tmp_path / "x.safetensors")
    assert set(lora.modules) == {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1",
    }
    assert lora.family is Family.SDXL


def test_keys_that_are_no_update_are_told_and_other_kinds_refused(tmp_path):
    tensors = {f"{KOHYA}.lora_down.weight": torch.ones(4, 768), f"{KOHYA}.lora_up.weight": torch.ones(320, 4)}
    save_file({**tensors, "lora_unet_conv_in.diff_b": torch.ones(3)}, tmp_path / "x.safetensors")
    assert read_lora(tmp_path / "x.safetensors").unread == ("lora_unet_conv_in.diff_b",)
    save_file({f"{KOHYA}.oft_blocks": torch.ones(3)}, tmp_path / "oft.safetensors")
    with pytest.raises(FileFormatError, match="OFT"):
        read_lora(tmp_path / "oft.safetensors")
