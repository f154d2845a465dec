"""Hooks do what merged weights do, only where and when they should, and leave nothing behind."""

import pytest

torch = pytest.importorskip("torch")

from pathlib import Path

from facechain_ext.blend import Region, Schedule
from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.kinds import DoraModule, FullModule, LoraModule
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.merge import merged
from facechain_ext.lora.naming import BLOCKS, block_of, kohya_name, unet_targets
from facechain_ext.lora.regions import Regions
from facechain_ext.ports import Family, LoraWeight, RegionPrompt

HALF = Region((0, 0, 0.5, 1), feather=0)
OTHER = Region((0.5, 0, 1, 1), feather=0)
NOWHERE = Path("x.safetensors")


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16, 16),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
        layers_per_block=2,
    ).eval()


@pytest.fixture(scope="module")
def modules(unet):
    names = unet_targets([p for p, _ in unet.named_modules()], Family.SD1, every=True)
    return {name: unet.get_submodule(path) for path, name in names.items()}


def low(weight, seed, rank=2):
    draw = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *weight.shape[1:], generator=draw) * weight[0].numel() ** -0.5
    up = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=draw)
    return LoraModule(down, up, float(rank))


def lora(modules, seed, kind=lambda weight, seed: low(weight, seed), only=lambda name: True):
    return LoraFile(
        f"l{seed}", Family.SD1, {n: kind(m.weight.detach(), seed + i) for i, (n, m) in enumerate(modules.items()) if only(n)}, {}
    )


def dora(weight, seed):
    lengths = weight.flatten(1).norm(dim=1) * 1.3
    return DoraModule(low(weight, seed), lengths.reshape(-1, *[1] * (weight.ndim - 1)))


def old_dora(weight, seed):
    return DoraModule(low(weight, seed), (weight.transpose(0, 1).flatten(1).norm(dim=1) * 0.8).reshape(1, -1, *[1] * (weight.ndim - 2)))


def whole(weight, seed):
    return FullModule(low(weight, seed).delta(weight))


def predict(unet, context=None, seed=0):
    draw = torch.Generator().manual_seed(seed)
    latent = torch.randn(2, 4, 8, 16, generator=draw)
    context = torch.randn(2, 5, 12, generator=draw) if context is None else context
    with torch.no_grad():
        return unet(latent, torch.tensor(300), encoder_hidden_states=context).sample


def live(modules, *loras, prompts=(), cfg=1.0):
    return LiveBlend(modules, loras, Family.SD1, prompts, cfg=cfg)


@pytest.mark.parametrize("kind", [low, dora, old_dora, whole])
def test_hooks_do_what_merged_weights_do(unet, modules, kind):
    plain = predict(unet)
    one, two = lora(modules, 1, kind), lora(modules, 500)
    with merged(modules, [(one, 0.7), (two, 0.4)]):
        wanted = predict(unet)
    with live(modules, (one, LoraWeight(NOWHERE, 0.7)), (two, LoraWeight(NOWHERE, 0.4))).attached(unet):
        found = predict(unet)
    assert torch.allclose(found, wanted, atol=2e-4)
    assert not torch.allclose(found, plain, atol=1e-2)
    assert torch.equal(predict(unet), plain)


def test_steps_change_the_weights_and_nothing_remains(unet, modules):
    plain, state = predict(unet), {k: v.clone() for k, v in unet.state_dict().items()}
    first = lora(modules, 1)
    schedule = Schedule(0, 1, 0.25, 0.75)
    wanted = {0: plain}
    for weight in (0.4, 0.8):
        with merged(modules, [(first, weight)]):
            wanted[weight] = predict(unet)
    with live(modules, (first, LoraWeight(NOWHERE, 0.8, schedule=schedule))).attached(unet) as blend:
        for step, weight in ((0, 0), (2, 0.4), (4, 0.8), (1, 0)):
            blend.at(step, 5)
            assert torch.allclose(predict(unet), wanted[weight], atol=2e-4)
            assert weight or torch.equal(predict(unet), plain)
    with pytest.raises(ZeroDivisionError), live(modules, (first, LoraWeight(NOWHERE))).attached(unet):
        raise ZeroDivisionError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())
    assert all(torch.equal(v, state[k]) for k, v in unet.state_dict().items())
    assert torch.equal(predict(unet), plain)


def test_blocks_have_weights_of_their_own(unet, modules):
    first = lora(modules, 1)
    only = tuple(float(i == 3) for i in range(25))
    here = {n for n in modules if block_of(n, Family.SD1) == 3}
    assert here == {"lora_unet_down_blocks_0_downsamplers_0_conv"}
    with live(modules, (first, LoraWeight(NOWHERE, blocks=only))).attached(unet):
        found = predict(unet)
    apart = LoraFile("x", Family.SD1, {n: u for n, u in first.modules.items() if n in here or block_of(n, Family.SD1) is None}, {})
    with merged(modules, [(apart, 1.0)]):
        assert torch.allclose(found, predict(unet), atol=1e-4)


def test_every_layer_but_three_lies_in_a_block(modules):
    places = {n: block_of(n, Family.SD1) for n in modules}
    outside = {n for n, place in places.items() if place is None}
    assert outside == {kohya_name(p) for p in ("conv_out", "time_embedding.linear_1", "time_embedding.linear_2")}
    assert set(places.values()) - {None} == set(range(BLOCKS[Family.SD1]))
    assert places["lora_unet_up_blocks_1_attentions_0_proj_in"] == 16
    assert block_of("lora_unet_output_blocks_5_1_proj_in", Family.SDXL) == 15
    assert block_of("lora_unet_middle_block_1_proj_in", Family.SDXL) == 9
    assert block_of("lora_te_text_model_encoder_layers_0_mlp_fc1", Family.SD1) is None


def test_a_region_that_is_everything_is_no_region(unet, modules):
    first = lora(modules, 1, only=lambda n: "time_emb" not in n)
    with merged(modules, [(first, 0.5)]):
        wanted = predict(unet)
    with live(modules, (first, LoraWeight(NOWHERE, 0.5, region=Region((0, 0, 1, 1))))).attached(unet):
        assert torch.allclose(predict(unet), wanted, atol=2e-4)


def test_two_regions_of_one_lora_are_the_whole(unet, modules):
    first = lora(modules, 1, only=lambda n: "time_emb" not in n)
    with merged(modules, [(first, 0.5)]):
        wanted = predict(unet)
    halves = [(first, LoraWeight(NOWHERE, 0.5, region=r)) for r in (HALF, OTHER)]
    with live(modules, *halves).attached(unet):
        assert torch.allclose(predict(unet), wanted, atol=2e-4)


def test_nothing_bleeds_out_of_a_layer(unet, modules):
    """Every layer's output outside the region is bit for bit what it is without the LoRA, words' layers included."""
    layers = {n: m for n, m in modules.items() if "down_blocks_0" in n and not n.endswith(("attn2_to_k", "attn2_to_v"))}
    attention = unet.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn2")
    first = lora(modules, 1)
    blend = live(modules, (first, LoraWeight(NOWHERE, region=HALF)))
    x, context = torch.randn(1, 8 * 16, 8), torch.randn(1, 5, 12)
    with torch.no_grad():
        before = attention(x, encoder_hidden_states=context)
        with blend.attached(unet):
            blend.regions.look(8, 16)
            after = attention(x, encoder_hidden_states=context)
        change = (after - before).view(8, 16, 8).abs().amax(-1)
        assert change[:, 8:].max() == 0
        assert change[:, :8].min() > 0
        for name, module in layers.items():
            if isinstance(module, torch.nn.Linear) and "time_emb" not in name:
                x = torch.randn(1, 8 * 16, module.in_features)
                shape = (8, 16, module.out_features)
            elif isinstance(module, torch.nn.Conv2d) and module.stride == (1, 1):
                x = torch.randn(1, module.in_channels, 8, 16)
                shape = None
            else:
                continue
            before = module(x)
            with blend.attached(unet):
                blend.regions.look(8, 16)
                after = module(x)
            change = (after - before).abs()
            change = change[0].amax(0) if shape is None else change.view(shape).amax(-1)
            assert change[:, 8:].max() == 0, name
            assert change[:, :8].max() > 0, name


def test_words_of_a_region_are_seen_there_only(unet, modules):
    attention = unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2")
    x, context, words = torch.randn(2, 2, 16), torch.randn(2, 5, 12), torch.randn(2, 9, 12)
    blend = live(modules, prompts=[RegionPrompt("left", HALF)])
    with torch.no_grad(), blend.attached(unet, {1: lambda _: words}):
        blend.regions.look(8, 16)
        found = attention(x, encoder_hidden_states=context)
    with torch.no_grad():
        here, there = attention(x, encoder_hidden_states=words), attention(x, encoder_hidden_states=context)
    assert torch.allclose(found[:, 0], here[:, 0])
    assert torch.allclose(found[:, 1], there[:, 1])


def test_masks_sum_to_one_on_every_grid():
    regions = Regions([Region((0.1, 0, 0.6, 1)), Region((0.5, 0.2, 1, 1), feather=0.2), Region((0.1, 0, 0.6, 1))])
    assert len(regions) == 2
    regions.look(7, 13)
    like = torch.zeros(1)
    for size in ((7, 13), (4, 7), (2, 4), (1, 2), (1, 1)):
        masks = regions.on(*size, like)
        assert masks.shape == (3, *size)
        assert torch.allclose(masks.sum(0), torch.ones(size), atol=1e-5)
        assert regions.on_tokens(size[0] * size[1], like) is not None
    assert regions.on_tokens(5, like) is None


def test_a_lora_of_another_size_is_refused_before_anything_hangs(unet, modules):
    name = next(iter(modules))
    bad = LoraFile("bad", Family.SD1, {name: LoraModule(torch.zeros(2, 99), torch.zeros(99, 2), 2.0)}, {})
    with pytest.raises(FileFormatError, match="layers of other sizes"):
        live(modules, (bad, LoraWeight(NOWHERE)))
    gone = LoraFile("gone", Family.SD1, {"lora_unet_elsewhere": LoraModule(torch.zeros(2, 9), torch.zeros(9, 2), 2.0)}, {})
    assert live(modules, (gone, LoraWeight(NOWHERE))).missing == ("lora_unet_elsewhere",)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision(unet, modules, dtype):
    import copy

    half = copy.deepcopy(unet).to(dtype)
    names = unet_targets([p for p, _ in half.named_modules()], Family.SD1, every=True)
    layers = {name: half.get_submodule(path) for path, name in names.items()}
    first = lora(modules, 1)
    with torch.no_grad(), live(layers, (first, LoraWeight(NOWHERE, 0.5, region=HALF))).attached(half):
        out = half(torch.randn(1, 4, 8, 16, dtype=dtype), torch.tensor(3), encoder_hidden_states=torch.randn(1, 5, 12, dtype=dtype)).sample
    assert out.dtype is dtype
    assert out.isfinite().all()


@pytest.mark.parametrize("kind", [low, dora, whole])
def test_rows_of_the_negative_prompt_have_a_weight_of_their_own(unet, modules, kind):
    first, second = lora(modules, 1, kind), lora(modules, 50)
    draw = torch.Generator().manual_seed(5)
    context = torch.randn(2, 5, 12, generator=draw)

    def with_merged(weight):
        with merged(modules, [(first, weight), (second, 0.3)]):
            return predict(unet, context)

    blend = live(modules, (first, LoraWeight(NOWHERE, 0.5, guided=2.5)), (second, LoraWeight(NOWHERE, 0.3)), cfg=3.0)
    wanted, less = with_merged(0.5), with_merged(0.125)
    for negative in ([False, True], [False, False], [True, True]):
        with blend.attached(unet, negative=lambda _, negative=negative: torch.tensor(negative)):
            found = predict(unet, context)
        for row, no in enumerate(negative):
            torch.testing.assert_close(found[row], (less if no else wanted)[row], rtol=1e-4, atol=1e-4)
    with blend.attached(unet):
        torch.testing.assert_close(predict(unet, context), wanted, rtol=1e-4, atol=1e-4)


def test_a_schedule_and_the_negative_prompt_multiply(unet, modules):
    one = lora(modules, 1)
    blend = live(modules, (one, LoraWeight(NOWHERE, 0.8, schedule=Schedule(0, 1, 0, 1), guided=2)), cfg=3.0)
    blend.at(10, 21)
    with merged(modules, [(one, 0.4)]):
        wanted = predict(unet)
    with merged(modules, [(one, 0.2)]):
        less = predict(unet)
    with blend.attached(unet, negative=lambda _: torch.tensor([True, False])):
        found = predict(unet)
    torch.testing.assert_close(found, torch.stack([less[0], wanted[1]]), rtol=1e-4, atol=1e-4)
