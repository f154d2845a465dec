"""Every kind of adapter on every family's UNet: it starts as nothing, learns, comes out without a trace, and its file is what the WebUI reads.

The readers' side is written down here as A1111 1.10.1 has it (extensions-builtin/Lora: network.py, network_lora.py, network_hada.py,
network_lokr.py), plainly on weights.
"""

import hashlib
import itertools
import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from safetensors.torch import load_file

from facechain_ext.lora.adapters import flat
from facechain_ext.lora.average import WITHOUT, mean_of
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin
from facechain_ext.lora.naming import unet_targets
from facechain_ext.lora.network import inject
from facechain_ext.lora.sizes import Kind, parameters_of, scale_of
from facechain_ext.ports import Family, Prediction
from tests.unit.training.test_plan import TOPOLOGIES

RANK, ALPHA = 6, 9.0
NARROW = {Family.SD1: (24, 32, 40, 40), Family.SD2: (24, 32, 40, 40), Family.SDXL: (24, 32, 40)}
HEADS = {Family.SD1: 2, Family.SD2: (1, 2, 2, 2), Family.SDXL: (1, 2, 2)}
MODULES = {(Family.SD1, "linear"): 192, (Family.SD2, "linear"): 192, (Family.SDXL, "attention"): 272, (Family.SD1, "conv"): 278}


@pytest.fixture(scope="module", params=list(TOPOLOGIES), ids=str)
def subject(request):
    """A UNet with random weights, its family and what it makes of an input."""
    from diffusers import UNet2DConditionModel

    family = request.param
    sizes = {"block_out_channels": NARROW[family], "attention_head_dim": HEADS[family], "norm_num_groups": 8, "cross_attention_dim": 24}
    torch.manual_seed(4)
    unet = UNet2DConditionModel(**(TOPOLOGIES[family] | sizes)).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(3)
    x, context = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 77, 24, generator=draw)
    more = {"text_embeds": torch.randn(2, 64, generator=draw), "time_ids": torch.rand(2, 6, generator=draw) * 64}

    def painted():
        return unet(
            x, torch.tensor([10, 700]), encoder_hidden_states=context, added_cond_kwargs=more if family is Family.SDXL else None
        ).sample

    return unet, family, painted


def state_of(unet):
    """Objects, flags, hooks, attributes and bits."""
    bits = hashlib.sha256(b"".join(v.contiguous().view(torch.uint8).numpy().tobytes() for v in unet.state_dict().values())).hexdigest()
    modules = [
        (n, id(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(m.__dict__)) for n, m in unet.named_modules()
    ]
    return bits, modules, [(n, id(p), p.requires_grad, p.grad is None) for n, p in unet.named_parameters()]


def as_the_webui(parts, weight):
    """What the WebUI makes of ``weight`` with the tensors ``parts`` of one module, by its own formulas."""
    dim = None
    if "hada_w1_a" in parts:
        update = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
        dim = parts["hada_w1_b"].shape[0]
    elif "lokr_w1" in parts:
        w2 = parts["lokr_w2"] if "lokr_w2" in parts else parts["lokr_w2_a"] @ parts["lokr_w2_b"]
        dim = parts["lokr_w2_b"].shape[0] if "lokr_w2_b" in parts else None
        w1 = parts["lokr_w1"]
        update = torch.kron(w1[:, :, None, None] if w2.ndim == 4 else w1, w2.contiguous())
    else:
        update = parts["lora_up.weight"].flatten(1) @ parts["lora_down.weight"].flatten(1)
        dim = parts["lora_down.weight"].shape[0]
    update = update.reshape(weight.shape) * (parts["alpha"].item() / dim if dim is not None else 1.0)
    if "dora_scale" not in parts:
        return weight + update
    merged = update + weight
    norm = merged.transpose(0, 1).reshape(merged.shape[1], -1).norm(dim=1, keepdim=True)
    return merged * (parts["dora_scale"] / norm.reshape(merged.shape[1], *[1] * (weight.ndim - 1)).transpose(0, 1))


def origin(family, rank=RANK):
    return LoraOrigin("x", family, Prediction.EPS, "c", "0" * 64, ALPHA, rank, 1, 64, "sks", ["sks"], 1)


@pytest.mark.parametrize(
    ("kind", "reach"), [*((k, "conv") for k in Kind), (Kind.LORA, "linear"), (Kind.LORA, "attention"), (Kind.LOKR, "linear")]
)
def test_it_learns_leaves_no_trace_and_its_file_says_the_same(subject, kind, reach, tmp_path):
    unet, family, painted = subject
    targets = unet_targets([p for p, _ in unet.named_modules()], family, reach=reach)
    if (family, reach) in MODULES:
        assert len(targets) == MODULES[family, reach]
    before, random = state_of(unet), torch.get_rng_state()
    with torch.no_grad():
        plain = painted()
    with inject(unet, targets=targets, rank=RANK, alpha=ALPHA, seed=1, kind=kind) as adapter:
        with torch.no_grad():
            assert torch.equal(painted(), plain), "it does not start as nothing"
        shapes = [unet.get_submodule(path).get_base_layer().weight.shape for path in targets]
        assert sum(p.numel() for p in adapter.parameters()) == sum(parameters_of(kind, RANK, s) for s in shapes)
        optimizer = torch.optim.Adam(adapter.parameters(), 0.02)
        for _ in range(2):
            painted().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert all(float(p.detach().abs().max()) > 0 for p in adapter.parameters()), "something never learned"
        with torch.no_grad():
            trained = painted()
        learned = adapter.copied()
        write_adapter(tmp_path / "x.safetensors", learned, origin(family), kind, reach, torch.float32)
    assert state_of(unet) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert float((trained - plain).abs().mean()) > 0.02
    by_module: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(tmp_path / "x.safetensors").items():
        name, _, part = key.partition(".")
        by_module.setdefault(name, {})[part] = tensor
    assert set(by_module) == set(targets.values())
    changed = {f"{path}.weight": as_the_webui(by_module[name], unet.get_submodule(path).weight) for path, name in targets.items()}
    saved = {key: unet.get_parameter(key).clone() for key in changed}
    with torch.no_grad():
        try:
            for key, value in changed.items():
                unet.get_parameter(key).copy_(value)
            assert torch.allclose(painted(), trained, atol=2e-4), float((painted() - trained).abs().max())
        finally:
            for key, value in saved.items():
                unet.get_parameter(key).copy_(value)


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_alpha_scales_and_a_state_goes_back_in(kind):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(24, 40, bias=False), torch.nn.Conv2d(8, 16, 3, bias=False))
    x = torch.randn(5, 24)
    state = None
    moved = []
    for alpha in (RANK, 2 * RANK):
        with inject(model, targets=["0", "1"], rank=RANK, alpha=alpha, seed=2, kind=kind) as adapter:
            if state is None:
                draw = torch.Generator().manual_seed(7)
                with torch.no_grad():
                    for p in adapter.parameters():
                        p.add_(torch.randn(p.shape, generator=draw) * 0.05)
                state = adapter.copied(cpu=True)
            adapter.load_state(state)
            found = torch.equal(flat(adapter.state())["0." + next(iter(state["0"]))], next(iter(state["0"].values())))
            assert found
            with torch.no_grad():
                moved.append(model[0](x))
    base = torch.nn.functional.linear(x, model[0].weight)
    if kind is Kind.DORA:
        assert not torch.allclose(moved[0], moved[1], atol=1e-3)
    else:
        assert torch.allclose(moved[1] - base, 2 * (moved[0] - base), atol=1e-4)
    assert scale_of(Kind.RSLORA, 16, 16.0) == 4.0


def test_half_precision_bases_take_every_kind():
    torch.manual_seed(1)
    for kind, dtype in itertools.product(Kind, (torch.bfloat16, torch.float16)):
        layer = torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.Conv2d(16, 8, 1)).to(dtype).requires_grad_(False)
        x = torch.randn(2, 16, 4, 4).to(dtype)
        with inject(layer, targets=["0", "1"], rank=2, alpha=2, seed=1, kind=kind) as adapter:
            out = layer(x)
            assert out.dtype is dtype
            out.float().square().mean().backward()
            assert all(p.dtype is torch.float32 and p.grad is not None for p in adapter.parameters()), kind


def test_metadata_names_the_trainer_whose_networks_these_are(tmp_path):
    pair = {"lora_down.weight": torch.zeros(4, 8), "lora_up.weight": torch.zeros(8, 4)}

    def told(kind, reach, learned):
        write_adapter(tmp_path / "x.safetensors", {"lora_unet_x": learned}, origin(Family.SD1, 4), kind, reach)
        data = (tmp_path / "x.safetensors").read_bytes()
        meta = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        return meta["ss_network_module"], json.loads(meta.get("ss_network_args", "{}")), load_file(tmp_path / "x.safetensors")

    assert told(Kind.LORA, "linear", pair)[:2] == ("networks.lora", {})
    assert told(Kind.LORA, "conv", pair)[1] == {"conv_dim": "4", "conv_alpha": "9"}
    module, args, tensors = told(Kind.RSLORA, "linear", pair)
    assert (module, args["algo"], args["rs_lora"]) == ("lycoris.kohya", "lora", "True")
    assert float(tensors["lora_unet_x.alpha"]) == pytest.approx(9.0 * math.sqrt(4))
    whole = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(4, 4)}
    module, args, tensors = told(Kind.LOKR, "attention", whole)
    assert (module, args["algo"], args["factor"], args["preset"]) == ("lycoris.kohya", "lokr", "8", "attn-only")
    # Readers scale by 1 where there is no rank: what alpha says is in the numbers.
    assert torch.equal(tensors["lora_unet_x.lokr_w1"], torch.full((2, 2), 2.25, dtype=torch.float16))


def test_the_mean_of_lokrs_is_the_nearest_kronecker_product():
    def made(seed, factored):
        draw = torch.Generator().manual_seed(seed)
        base = torch.Generator().manual_seed(0)
        parts = {"lokr_w1": torch.randn(4, 3, generator=base) + 0.1 * torch.randn(4, 3, generator=draw)}
        if factored:
            a, b = torch.randn(10, 2, generator=base), torch.randn(2, 12, generator=base)
            return parts | {"lokr_w2_a": a, "lokr_w2_b": b + 0.1 * torch.randn(2, 12, generator=draw)}
        return parts | {"lokr_w2": torch.randn(5, 6, generator=base) + 0.1 * torch.randn(5, 6, generator=draw)}

    def product(parts):
        return torch.kron(parts["lokr_w1"], parts["lokr_w2"] if "lokr_w2" in parts else parts["lokr_w2_a"] @ parts["lokr_w2_b"])

    for factored in (False, True):
        several = [{"x": made(seed, factored)} for seed in range(1, 4)]
        wanted = sum(product(s["x"]) for s in several) / 3
        found = mean_of(several)["x"]
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in several[0]["x"].items()}
        far = min(float((product(s["x"]) - wanted).norm()) for s in several)
        assert float((product(found) - wanted).norm()) < 0.5 * far
        same = mean_of([several[0]] * 2)["x"]
        assert torch.allclose(product(same), product(several[0]["x"]), atol=1e-4)
    assert set(WITHOUT) == {Kind.DORA, Kind.LOHA}
