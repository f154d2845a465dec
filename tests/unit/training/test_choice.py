"""Which LoRA is kept and when more steps no longer help; the mean of LoRAs."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.lora.adapters import DOWN, UP
from facechain_ext.lora.average import mean_of
from facechain_ext.training.choice import Candidates, Choice, Look, choose, look, ranked, variety, why_stop


def state(seed, rank=4, inputs=24, outputs=16):
    draw = torch.Generator().manual_seed(seed)
    linear = (torch.randn(rank, inputs, generator=draw), torch.randn(outputs, rank, generator=draw))
    conv = (torch.randn(rank, 6, 3, 3, generator=draw), torch.randn(8, rank, 1, 1, generator=draw))
    return {name: {DOWN: down, UP: up} for name, (down, up) in (("linear", linear), ("conv", conv))}


def product(tensors):
    return tensors[UP].flatten(1) @ tensors[DOWN].flatten(1)


def looks(*scores, variety=0.5):
    return [Look((i + 1) * 100, s, s, variety) for i, s in enumerate(scores)]


def test_the_mean_is_that_of_the_products_as_near_as_the_rank_allows():
    several = [state(i) for i in range(3)]
    found = mean_of(several)
    for path in several[0]:
        wanted = sum(product(s[path]) for s in several) / 3
        u, s, v = torch.linalg.svd(wanted, full_matrices=False)
        nearest = (u[:, :4] * s[:4]) @ v[:4]
        assert torch.allclose(product(found[path]), nearest, atol=1e-4)
        assert {k: t.shape for k, t in found[path].items()} == {k: t.shape for k, t in several[0][path].items()}


def test_the_mean_of_one_is_itself_and_small_layers_are_exact():
    one = state(1)
    assert all(torch.allclose(product(mean_of([one, one])[p]), product(one[p]), atol=1e-4) for p in one)
    # Eight dimensions hold what two LoRAs of rank 4 say.
    narrow = [state(i, rank=8, inputs=5) for i in range(2)]
    wanted = (product(narrow[0]["linear"]) + product(narrow[1]["linear"])) / 2
    found = mean_of(narrow)["linear"]
    assert torch.allclose(product(found), wanted, atol=1e-4)
    assert found[DOWN].shape == (8, 5)


def test_a_mean_of_factors_would_be_wrong():
    a, b = state(1)["linear"], state(2)["linear"]
    wrong = ((a[UP] + b[UP]) / 2) @ ((a[DOWN] + b[DOWN]) / 2)
    assert not torch.allclose(wrong, (product(a) + product(b)) / 2, atol=0.5)


@pytest.mark.parametrize(
    ("seen", "patience", "said"),
    [
        (looks(0.1, 0.2, 0.3, 0.4), 2, None),
        (looks(0.1, 0.4, 0.4), 2, None),
        (looks(0.1, 0.4, 0.4, 0.405), 2, "step 200 (0.40), 2 previews ago"),
        (looks(0.1, 0.4, 0.3, 0.2), 0, None),
        (looks(0.4), 1, None),
        ([Look(100, None, 0.0, 0.5), Look(200, None, 0.0, 0.5), Look(300, None, 0.0, 0.5)], 1, None),
    ],
)
def test_more_steps_are_given_up_after_so_many_previews_without_a_better_one(seen, patience, said):
    found = why_stop(seen, patience)
    assert (found is None) == (said is None)
    if said:
        assert said in found


def test_portraits_that_became_one_picture_end_the_training():
    seen = [*looks(0.3, 0.5), Look(300, 0.5, 0.5, 0.1), Look(400, 0.5, 0.5, 0.1)]
    assert "since step 300" in why_stop(seen, 9)
    assert why_stop(seen[:3], 9) is None


def test_variety():
    draw = np.random.default_rng(1)
    noise = [np.repeat(np.repeat(draw.integers(0, 255, (8, 8, 3)), 8, 0), 8, 1).astype(np.uint8) for _ in range(4)]
    assert variety(noise) > 0.8
    assert variety([noise[0]] * 4) == pytest.approx(0, abs=1e-6)
    assert variety([noise[0], (noise[0] // 2 + 60).astype(np.uint8)]) < 0.02, "brightness is no variety"
    assert variety(noise[:1]) == 1


def test_a_missing_face_counts_as_no_likeness():
    picture = np.zeros((8, 8, 3), np.uint8)
    seen = look(5, [picture] * 4, [0.8, None, 0.8, None])
    assert (seen.likeness, seen.score) == (pytest.approx(0.8), pytest.approx(0.4))
    assert look(5, [picture], [None]).likeness is None


def test_only_the_best_stay_on_disk(tmp_path):
    candidates, seen = Candidates(tmp_path), []
    for entry in looks(0.1, 0.5, 0.3, 0.05, 0.6, 0.4):
        seen.append(entry)
        candidates.add(state(entry.step), seen)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00200.safetensors", "step-00500.safetensors", "step-00600.safetensors"]
    back = candidates.read(500)
    assert all(torch.equal(t, state(500)[name][key]) for name in back for key, t in back[name].items())
    assert candidates.read(100) is None
    assert [v.step for v in ranked(seen)][:3] == [500, 200, 600]


def test_what_scores_best_is_kept_and_the_last_step_in_doubt(tmp_path):
    candidates, seen = Candidates(tmp_path), []
    for entry in looks(0.5, 0.4, 0.3):
        seen.append(entry)
        candidates.add(state(entry.step), seen)
    last = (300, state(300))
    kept, choice = choose(last, seen, candidates, lambda s: 0.505 if s is not last[1] else 0.5)
    assert (choice.kept, kept) == ("the last step", last[1])
    kept, choice = choose(last, seen, candidates, lambda s: 0.6 if torch.equal(s["linear"][DOWN], state(100)["linear"][DOWN]) else 0.5)
    assert choice.kept == "step 100"
    assert torch.equal(kept["linear"][DOWN], state(100)["linear"][DOWN])
    assert choice.reason.startswith("On new seeds step 100 gave a likeness of 0.60; ")
    scores = iter([0.1, 0.2, 0.9])
    kept, choice = choose(last, seen, candidates, lambda _: next(scores))
    assert choice.kept == "the mean of steps 100, 200 and 300"
    assert torch.allclose(product(kept["linear"]), product(mean_of([state(100), state(200), last[1]])["linear"]), atol=1e-4)
    (tmp_path / "step-00100.safetensors").write_bytes(b"cut off")
    kept, choice = choose(last, seen[:1], candidates, lambda _: 0.0)
    assert isinstance(choice, Choice)
    assert (choice.kept, choice.contenders) == ("the last step", ())
