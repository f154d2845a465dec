"""LoRAs in a whole diffusers UNet with random weights: what goes in by training comes out the same by merging."""

import hashlib

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin, read_lora
from facechain_ext.lora.merge import merged
from facechain_ext.lora.naming import unet_targets
from facechain_ext.lora.network import inject
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family, Prediction


def narrow(linear: bool):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(1)
    return (
        UNet2DConditionModel(
            block_out_channels=(16, 32, 32, 32),
            norm_num_groups=8,
            attention_head_dim=2,
            cross_attention_dim=24,
            layers_per_block=2,
            use_linear_projection=linear,
        )
        .eval()
        .requires_grad_(False)
    )


@pytest.fixture(scope="module", params=[False, True], ids=["1x1 projections", "linear projections"])
def unet(request):
    return narrow(request.param)


def state_of(unet):
    """Objects, flags, hooks, attributes and bits."""
    bits = hashlib.sha256(b"".join(v.contiguous().view(torch.uint8).numpy().tobytes() for v in unet.state_dict().values())).hexdigest()
    modules = [
        (n, id(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(m.__dict__)) for n, m in unet.named_modules()
    ]
    return bits, modules, [(n, id(p), p.requires_grad) for n, p in unet.named_parameters()]


def painted(unet):
    draw = torch.Generator().manual_seed(3)
    x, context = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 77, 24, generator=draw)
    with torch.no_grad():
        return unet(x, torch.tensor([10, 700]), encoder_hidden_states=context).sample


def test_injected_written_read_and_merged_is_the_same_function(unet, tmp_path):
    targets = unet_targets([p for p, _ in unet.named_modules()], Family.SD1)
    assert len(targets) == 192
    before, plain = state_of(unet), painted(unet)
    draw = torch.Generator().manual_seed(5)
    with inject(unet, targets=targets, rank=3, alpha=6.0, seed=1) as adapter:
        assert torch.equal(painted(unet), plain)
        with torch.no_grad():
            for parameter in adapter.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.05)
        trained = painted(unet)
        origin = LoraOrigin("x", Family.SD1, Prediction.EPS, "c", "0" * 64, 6.0, 3, 1, 64, "sks", ["sks"], 1)
        write_adapter(tmp_path / "x.safetensors", adapter.state(), origin, Kind.LORA, dtype=torch.float32)
    assert state_of(unet) == before
    assert float((trained - plain).abs().mean()) > 1e-2
    modules = {name: unet.get_submodule(path) for path, name in targets.items()}
    with merged(modules, [(read_lora(tmp_path / "x.safetensors"), 1.0)]) as missing:
        assert missing == []
        assert torch.allclose(painted(unet), trained, atol=1e-4)
    assert state_of(unet) == before
    with merged(modules, [(read_lora(tmp_path / "x.safetensors"), w) for w in (1.0, -1.0)]):
        assert torch.allclose(painted(unet), plain, atol=1e-4)
    assert state_of(unet) == before


def test_half_precision_weights_keep_every_bit():
    unet = narrow(linear=False).half()
    targets = unet_targets([p for p, _ in unet.named_modules()], Family.SD1)
    before = state_of(unet)

    def interrupt(adapter):
        assert {p.dtype for p in adapter.parameters()} == {torch.float32}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), inject(unet, targets=list(targets), rank=2, alpha=2.0, seed=1) as adapter:
        interrupt(adapter)
    assert state_of(unet) == before
    assert not any("lora" in name for name, _ in unet.named_modules())
