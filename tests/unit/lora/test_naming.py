"""The names in our files are kohya's, spelled out here by kohya's own rule, and both naming schemes map onto each other."""

import pytest

from facechain_ext.lora.naming import ATTENTION, diffusers_path, inverse, kohya_name, ldm_path, text_targets, unet_targets
from facechain_ext.ports import Family

INNER = [f"transformer_blocks_0_attn{n}_to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out_0")] + [
    "transformer_blocks_0_ff_net_0_proj",
    "transformer_blocks_0_ff_net_2",
    "proj_in",
    "proj_out",
]
BLOCKS = (
    [f"down_blocks_{b}_attentions_{a}" for b in (0, 1, 2) for a in (0, 1)]
    + ["mid_block_attentions_0"]
    + [f"up_blocks_{b}_attentions_{a}" for b in (1, 2, 3) for a in (0, 1, 2)]
)
SD1_UNET = {f"lora_unet_{block}_{inner}" for block in BLOCKS for inner in INNER}
"""What kohya's sd-scripts write for SD1.5: 16 spatial transformers of 12 layers."""
SD1_TEXT = {
    f"lora_te_text_model_encoder_layers_{layer}_{part}"
    for layer in range(12)
    for part in ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
}
SDXL_PLACES = [
    ("input_blocks_4_1", 2),
    ("input_blocks_5_1", 2),
    ("input_blocks_7_1", 10),
    ("input_blocks_8_1", 10),
    ("middle_block_1", 10),
] + [(f"output_blocks_{n}_1", 10 if n < 3 else 2) for n in range(6)]
SDXL_UNET = {
    f"lora_unet_{place}_transformer_blocks_{depth}_{inner.removeprefix('transformer_blocks_0_')}"
    for place, depths in SDXL_PLACES
    for depth in range(depths)
    for inner in INNER[:-2]
} | {f"lora_unet_{place}_{end}" for place, _ in SDXL_PLACES for end in ("proj_in", "proj_out")}


def paths(build) -> list[str]:
    """Module paths of a model that is never given weights."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    with torch.device("meta"):
        return [path for path, _ in build().named_modules()]


@pytest.fixture(scope="module")
def sd1_paths():
    from diffusers import UNet2DConditionModel

    return paths(lambda: UNet2DConditionModel(block_out_channels=(32, 64, 128, 128), cross_attention_dim=64))


@pytest.fixture(scope="module")
def sdxl_paths():
    from diffusers import UNet2DConditionModel

    return paths(
        lambda: UNet2DConditionModel(
            block_out_channels=(32, 64, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=64,
            use_linear_projection=True,
        )
    )


def test_sd1_unet_names_are_kohyas_192(sd1_paths):
    assert len(SD1_UNET) == 192
    assert set(unet_targets(sd1_paths, Family.SD1).values()) == SD1_UNET


def test_sdxl_unet_names_are_kohyas_722(sdxl_paths):
    assert len(SDXL_UNET) == 722
    assert set(unet_targets(sdxl_paths, Family.SDXL).values()) == SDXL_UNET


@pytest.mark.parametrize("prefix", ["", "text_model."], ids=["transformers 5", "transformers 4"])
def test_text_encoder_names_are_kohyas_72(prefix):
    from transformers import CLIPTextConfig, CLIPTextModel

    inner = paths(lambda: CLIPTextModel(CLIPTextConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=12, num_attention_heads=4)))
    bare = [p.removeprefix("text_model.") for p in inner]
    assert set(text_targets([prefix + p for p in bare if p]).values()) == SD1_TEXT


@pytest.mark.parametrize("family", [Family.SD1, Family.SDXL])
def test_diffusers_and_ldm_paths_are_each_others_inverse(family, sd1_paths, sdxl_paths):
    targets = unet_targets(sd1_paths if family is Family.SD1 else sdxl_paths, family, every=True)
    ldm = {path: ldm_path(path, family) for path in targets}
    assert len(set(ldm.values())) == len(ldm) > 200
    assert {path: diffusers_path(name, family) for path, name in ldm.items()} == {path: path for path in ldm}


def test_ldm_paths_match_a_checkpoint_on_disk(host, sd1_paths):
    from facechain_ext.hosts.standalone.anatomy import UNET
    from facechain_ext.hosts.standalone.checkpoints import SHIPPED
    from facechain_ext.hosts.standalone.inspection import read_header

    there = {k.removeprefix(UNET).removesuffix(".weight") for k in read_header(SHIPPED / "tiny-faces.safetensors") if k.startswith(UNET)}
    ours = {ldm_path(path, Family.SD1) for path in unet_targets(sd1_paths, Family.SD1, every=True)}
    assert ours <= there


@pytest.mark.parametrize("name", ["input_blocks.1.2.x", "nothing", "middle_block", "input_blocks.1.0.strange", ""])
def test_unknown_modules_are_refused(name):
    with pytest.raises(KeyError):
        diffusers_path(name, Family.SD1)


def test_names_have_an_inverse(sd1_paths):
    targets = unet_targets(sd1_paths, Family.SD1)
    assert {inverse(targets)[name]: name for name in targets.values()} == targets
    assert kohya_name("a.b.0") == "lora_unet_a_b_0"
    assert len(ATTENTION) == 4
