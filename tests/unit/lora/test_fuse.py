"""Merged files are the sums, cuts and choices they are called, for every kind of parent."""

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.fuse import METHODS, FuseSettings, fuse
from facechain_ext.lora.kinds import DoraModule, LoraModule, update_from
from facechain_ext.ports import Family

LINEAR, CONV = "lora_unet_mid_block_attentions_0_proj_in", "lora_unet_mid_block_resnets_0_conv1"
SHAPES = {LINEAR: (24, 16), CONV: (24, 16, 3, 3)}


def lora(name, seed, size=1.0, rank=4, family=Family.SD1):
    draw = torch.Generator().manual_seed(seed)
    modules = {}
    for key, shape in SHAPES.items():
        down = torch.randn(rank, *shape[1:], generator=draw)
        up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=draw) * size
        modules[key] = LoraModule(down, up, float(rank))
    return LoraFile(name, family, modules, {})


def product(fused, name):
    down, up = fused.state[name]
    return (up.flatten(1) @ down.flatten(1)).view(SHAPES[name])


def deltas(file, name):
    return file.modules[name].delta(torch.zeros(SHAPES[name]))


@pytest.mark.parametrize("method", ["linear", "svd"])
def test_a_sum_is_the_sum(method):
    one, two = lora("a", 1), lora("b", 2, rank=3)
    made = fuse([(one, 0.9), (two, -0.5)], FuseSettings(method, rank=7))
    for name in SHAPES:
        assert torch.allclose(product(made, name), 0.9 * deltas(one, name) - 0.5 * deltas(two, name), atol=1e-4)
        assert made.state[name][0].shape == (7, *SHAPES[name][1:])
        assert made.rank == 7
    assert made.kept == pytest.approx(1.0)


def test_a_cut_is_the_best_of_its_rank():
    one, two = lora("a", 1), lora("b", 2)
    made = fuse([(one, 1.0), (two, 1.0)], FuseSettings("svd", rank=3))
    whole = (deltas(one, LINEAR) + deltas(two, LINEAR)).double()
    s = torch.linalg.svdvals(whole)
    assert float((product(made, LINEAR) - whole).square().sum()) == pytest.approx(float(s[3:].square().sum()), rel=1e-3)
    assert 0.3 < made.kept < 1


def test_choice_takes_each_layer_from_one_parent():
    one, two = lora("a", 1), lora("b", 2, size=1.5)
    made = fuse([(one, 1.0), (two, 1.0)], FuseSettings("choice"))
    assert set(made.chosen.values()) == {"b"}
    assert torch.allclose(product(made, CONV), deltas(two, CONV), atol=1e-3)
    leaning = fuse([(one, 1.0), (two, 1.0)], FuseSettings("choice", lean=3.0))
    assert set(leaning.chosen.values()) == {"a"}
    assert torch.allclose(product(leaning, LINEAR), deltas(one, LINEAR), atol=1e-4)


def test_apart_leaves_the_first_alone_where_it_looks():
    one, two = lora("a", 1), lora("b", 2)
    made = fuse([(one, 1.0), (two, 1.0)], FuseSettings("apart", rank=8))
    seen = one.modules[LINEAR].down.T
    assert torch.allclose(product(made, LINEAR) @ seen, deltas(one, LINEAR) @ seen, atol=1e-3)
    assert not torch.allclose(product(made, LINEAR), deltas(one, LINEAR), atol=0.1)


@pytest.mark.parametrize("method", ["ties", "dare", "dare-ties", "magnitude"])
def test_pefts_merges_are_pefts(method):
    from peft.utils import merge_utils

    one, two = lora("a", 1), lora("b", 2)
    settings = FuseSettings(method, rank=24, density=0.4)
    made = fuse([(one, 0.8), (two, 0.5)], settings)
    if method in ("ties", "magnitude"):
        both = [0.8 * deltas(one, LINEAR), 0.5 * deltas(two, LINEAR)]
        way = merge_utils.ties if method == "ties" else merge_utils.magnitude_prune
        assert torch.allclose(product(made, LINEAR), way(both, torch.ones(2), 0.4), atol=1e-4)
    else:
        state = torch.get_rng_state()
        again = fuse([(one, 0.8), (two, 0.5)], settings)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(product(again, LINEAR), product(made, LINEAR))
        assert not torch.equal(
            product(fuse([(one, 0.8), (two, 0.5)], FuseSettings(method, 24, 0.4, seed=2)), LINEAR), product(made, LINEAR)
        )


@pytest.mark.parametrize("method", METHODS)
def test_other_kinds_can_be_parents(method):
    draw = torch.Generator().manual_seed(3)
    loha = {
        k: torch.randn(s, generator=draw)
        for k, s in {"hada_w1_a": (24, 2), "hada_w1_b": (2, 144), "hada_w2_a": (24, 2), "hada_w2_b": (2, 144)}.items()
    }
    lokr = {k: torch.randn(s, generator=draw) for k, s in {"lokr_w1": (4, 4), "lokr_w2": (6, 4)}.items()}
    other = LoraFile("other", Family.SD1, {CONV: update_from(loha, 2.0), LINEAR: update_from(lokr, 1.0)}, {})
    made = fuse([(lora("a", 1), 0.5), (other, 0.5)], FuseSettings(method, rank=24, lean=1e-6))
    assert {name: tuple(d.shape[1:]) for name, (d, _) in made.state.items()} == {LINEAR: (16,), CONV: (16, 3, 3)}
    if method == "choice":
        assert torch.allclose(product(made, CONV), 0.5 * other.modules[CONV].delta(torch.zeros(SHAPES[CONV])), atol=1e-2)


def test_what_cannot_be_merged_is_refused():
    one = lora("a", 1)
    with pytest.raises(UserInputError, match="families"):
        fuse([(one, 1.0), (lora("b", 2, family=Family.SD2), 1.0)], FuseSettings())
    with pytest.raises(UserInputError, match="at least two"):
        fuse([(one, 1.0)], FuseSettings())
    with pytest.raises(UserInputError, match="no way to merge"):
        FuseSettings("mix")
    dora = LoraFile("d", Family.SD1, {LINEAR: DoraModule(one.modules[LINEAR], torch.ones(24, 1))}, {})
    with pytest.raises(FileFormatError, match="DoRA"):
        fuse([(one, 1.0), (dora, 1.0)], FuseSettings())
    small = LoraFile("s", Family.SD1, {LINEAR: LoraModule(torch.zeros(2, 8), torch.zeros(24, 2), 2.0)}, {})
    with pytest.raises(FileFormatError, match="different sizes"):
        fuse([(one, 1.0), (small, 1.0)], FuseSettings())
