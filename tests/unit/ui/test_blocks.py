"""Blocks of HTML: verdicts, progress, results; text from outside is escaped, uploads vanish, jobs are followed to their end."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PilImage

from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.faces.types import PhotoVerdict, Preparation, Reason
from facechain_ext.progress import Progress, Stage
from facechain_ext.services.jobs import JobRunner
from facechain_ext.services.requests import Portrait, PrepareRequest, RankedPortraits, TrainResult
from facechain_ext.services.studio import Studio
from facechain_ext.ui import panels, uploads, verdicts
from facechain_ext.ui.following import Part, follow
from facechain_ext.ui.pictures import inline
from facechain_ext.ui.presets import Preset, apply
from facechain_ext.ui.words import duration
from facechain_ext.workspace import Workspace

GOOD = PhotoVerdict("a.png", True, quality=0.8)
BAD = PhotoVerdict("<b>.jpg", False, (Reason.UNREADABLE,), ("Not a picture & no use.",))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "a.png"
    PilImage.new("RGB", (40, 30), (200, 10, 10)).save(file)
    return file


def test_verdicts_count_and_escape(photo):
    html = verdicts.gallery(Preparation((BAD, GOOD), None, ("More photos help.",), (photo.with_name("no"), photo), (None, b"jpeg")))
    assert "1 of 2 photos can be used" in html
    assert "&lt;b&gt;.jpg" in html
    assert "<b>.jpg" not in html
    assert "Not a picture &amp; no use." in html
    assert 'data-reasons="unreadable"' in html
    assert html.index("accepted") < html.index("rejected")
    assert html.count("data:image/jpeg;base64,anBlZw==") == 1


def test_duplicates_are_no_fault_and_a_whole_disk_is_not_drawn():
    again = PhotoVerdict("c.png", False, (Reason.NEAR_DUPLICATE,), ("Nearly the same.",), 0.9)
    dim = PhotoVerdict("d.png", False, (Reason.TOO_DARK,), ("Too dark.",), 0.4)
    html = verdicts.gallery(Preparation((again, BAD, GOOD, dim), None))
    assert [html.index(f"{name}<") for name in ("a.png", "d.png", "&lt;b&gt;.jpg", "c.png")] == sorted(html.index(f"{name}<") for name in ("a.png", "d.png", "&lt;b&gt;.jpg", "c.png"))
    assert html.count('<span class="fc-badge">duplicate</span>') == 1
    assert html.count("<small>quality") == 2  # of the accepted one and of the dim one
    many = verdicts.gallery(Preparation((GOOD, *[PhotoVerdict(f"{i}.png", False, (Reason.TOO_MANY,), ("Too many.",)) for i in range(9999)]), None))
    assert many.count("<figure") == verdicts.MOST_CARDS
    assert "9800 more photos are not shown" in many


def test_pictures_that_cannot_be_shown_are_none(tmp_path, photo):
    broken = tmp_path / "b.jpg"
    broken.write_text("text")
    assert inline(broken, 64) is None
    assert inline(tmp_path / "missing.png", 64) is None
    assert str(inline(photo, 64)).startswith("data:image/png")
    assert str(inline(photo, 8)).startswith("data:image/jpeg")


def test_only_gradios_copies_are_discarded(tmp_path, photo, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    copy = tmp_path / "gradio" / "hash" / "a.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(photo.read_bytes())
    assert uploads.only_uploads([copy, photo, tmp_path / "gradio" / ".." / "a.png"]) == [copy]
    assert uploads.discard([copy, photo]) == 1
    assert photo.exists()
    assert not copy.parent.exists()


class RefusingStudio(Studio):
    """Finds no usable photo, as the real use case says it."""

    def prepare(self, request, on_progress=lambda _: None, cancel=None):
        error = UserInputError("None of the 1 photos can be used.")
        error.preparation = Preparation((BAD,), None, sources=request.sources)  # type: ignore[attr-defined]
        raise error


def test_a_check_without_usable_photo_still_shows_verdicts_and_deletes_the_uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    upload = tmp_path / "gradio" / "x" / "a.jpg"
    upload.parent.mkdir(parents=True)
    upload.write_text("x")
    studio = RefusingStudio(Workspace(tmp_path / "w"), lambda: None, None)  # type: ignore[arg-type, return-value]
    job = verdicts.submit_check(studio, PrepareRequest("Anna", (upload,)))
    assert job.wait(20)
    assert job.result.problem
    assert "0 of 1 photo can be used" in verdicts.checked_html(job.result)
    assert not upload.exists()


def test_following_sends_only_what_changed_and_ends_with_the_job():
    def work(sink, token):
        sink(Progress(Stage.TRAIN, 1, 2, loss=0.5))
        return "made"

    job = JobRunner().submit("train", "Anna", work)
    sent = list(follow(job, lambda j: [Part(j.state, lambda: str(j.result)), Part("same", lambda: "once")], poll_s=0.01))
    assert sent[-1][0] == "made"
    assert [values[1] for values in sent].count("once") == 1


def test_panels_say_what_happens_and_what_came_of_it(photo):
    runner = JobRunner()
    job = runner.submit("train", "An<na", lambda sink, token: None)
    assert job.wait(20)
    job.progress = Progress(Stage.TRAIN, 30, 120, "Training", 0.1234, eta_s=125)
    html = panels.progress_panel(job)
    assert "An&lt;na" in html
    assert "30 / 120" in html
    assert "about 2 min 5 s left" in html
    done = panels.train_summary(TrainResult("Anna", Path("/w/Anna.safetensors"), 12, 64, 0.1, None, True, (), ()))
    assert "Stopped early, and kept" in done
    assert "no face found" in done


def test_portraits_show_rank_likeness_and_flag(photo):
    made = (Portrait(photo, 7, 0.71, 1, 1, "photo of <x>"), Portrait(photo, 8, None, 0, 2, "t", flagged=True, faults=("No face found in it.",)))
    html = panels.portrait_gallery(RankedPortraits("Anna", photo.parent, photo, photo, made), {})
    assert "2 portraits of Anna" in html
    assert "likeness 0.71" in html
    assert "No face found in it." in html
    assert "photo of &lt;x&gt;" in html


def test_presets_scale_the_checkpoints_own_steps():
    own = TrainConfig(steps=300, preview_every=100, save_every=50)
    fast, best = apply(Preset.FAST, own), apply(Preset.BEST, own)
    assert (fast.steps, apply(Preset.BALANCED, own), best.steps) == (100, own, 600)
    assert fast.preview_every == 33
    assert apply(Preset.FAST, TrainConfig(steps=1)).steps == 1
    assert apply(Preset.BEST, TrainConfig(steps=20000)).steps == 20000


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (3780, "1 h 3 min")])
def test_durations_are_said_for_people(seconds, said):
    assert duration(seconds) == said
