"""The HTTP API as a program uses it."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from PIL import Image

from facechain_ext.api import uploads
from facechain_ext.errors import HostError
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.workspace import PRIVATE_PREFIX
from tests.api.conftest import BASE, Door

PERSON = "Zoë Ångström"
TRAIN = {"steps": 2, "rank": 2, "alpha": 2.0, "batch": 1, "warmup": 0, "previews": 0}
Photos = list[tuple[str, bytes]]


def form(photos: Photos) -> list[tuple[str, tuple[str, bytes, str]]]:
    """Photos as multipart files."""
    return [("photos", (name, data, "image/png")) for name, data in photos]


def in_json(photos: Photos) -> list[dict[str, str]]:
    """Photos as base64."""
    return [{"name": name, "data": base64.b64encode(data).decode()} for name, data in photos]


def refused(answer: Any, status: int, code: str) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "message"}
    assert body["error"] == code
    assert body["message"].endswith("."), body
    assert "Traceback" not in answer.text
    return str(body["message"])


@pytest.fixture(scope="module")
def trained(door_at: Callable[..., Door], photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Door:
    """A workspace with one trained person; tests leave it as it is."""
    door = door_at(tmp_path_factory.mktemp("api") / "workspace")
    prepared = door.finished(door.client.post(f"{BASE}/prepare", data={"person": PERSON}, files=form(photos)))
    assert prepared["state"] == "done", prepared
    job = door.finished(door.client.post(f"{BASE}/train", json={"person": PERSON, "settings": TRAIN}))
    assert job["state"] == "done", job
    return door


@pytest.fixture
def held(door: Door) -> Iterator[Callable[..., str]]:
    """Submits a job that runs until it is cancelled or stopped; gives its id."""
    ends = threading.Event()

    def submit(kind: str = "train", person: str = "Ada") -> str:
        began = threading.Event()

        def work(_sink: ProgressSink, token: CancelToken) -> None:
            began.set()
            while not (ends.is_set() or token.stopping):
                token.raise_if_cancelled()
                time.sleep(0.01)

        job = door.studio.jobs.submit(kind, person, work)
        if door.studio.jobs.current() is job:
            assert began.wait(10)
        return job.id

    yield submit
    ends.set()


def test_from_photos_to_portraits_and_gone_again(door: Door, photos: Photos, no_leftovers: Path):
    settings = {"subject": "man", "trigger": "sks"}
    answer = door.client.post(f"{BASE}/prepare", data={"person": PERSON, "settings": json.dumps(settings)}, files=form(photos))
    prepared = door.finished(answer)
    assert prepared["state"] == "done"
    assert prepared["result"]["accepted"] == 5
    assert [v["file"] for v in prepared["result"]["photos"]] == [name for name, _ in photos]
    assert not [name for name in door.contents() if name.startswith(PRIVATE_PREFIX)]

    job = door.finished(door.client.post(f"{BASE}/train", json={"person": PERSON, "settings": TRAIN}))
    assert (job["state"], job["step"], job["error"]) == ("done", 1, None)
    assert job["result"]["steps"] == 2
    assert job["result"]["lora"].endswith(".safetensors")
    assert [p["step"] for p in job["curve"]] == [1, 2]
    assert [p["step"] for p in door.get(f"/jobs/{job['id']}?since=1")["curve"]] == [2]

    person = door.get(f"/people/{PERSON}")
    assert (person["photos"], person["subject"], len(person["loras"])) == (5, "man", 1)
    assert door.get("/people") == [person]

    body = {"person": PERSON, "style": "knight", "prompt": "smiling", "settings": {"count": 2, "steps": 2, "seed": 5}}
    made = door.finished(door.client.post(f"{BASE}/portraits", json=body))
    portraits = made["result"]["portraits"]
    assert [p["rank"] for p in portraits] == [1, 2]
    assert {p["seed"] for p in portraits} == {5, 6}
    assert "smiling" in portraits[0]["infotext"]
    for portrait, listed in zip(portraits, made["images"], strict=True):
        assert portrait["url"] == listed["url"]
        picture = door.client.get(portrait["url"])
        assert picture.headers["content-type"] == "image/png"
        assert "no-store" in picture.headers["cache-control"]
        assert Image.open(io.BytesIO(picture.content)).format == "PNG"

    blend = {"person": PERSON, "style": "charcoal", "settings": {"steps": 2, "width": 64, "height": 64, "batch": 1}}
    told = door.client.post(f"{BASE}/blend", json=blend).json()
    assert [part["role"] for part in told["parts"]] == ["face", "style"]
    assert (told["measured"], told["problems"]) == (False, [])
    found = door.finished(door.client.post(f"{BASE}/balance", json={**blend, "seconds": 1}))
    assert len(found["result"]["measured"]) >= 3
    again = door.client.post(f"{BASE}/blend", json=blend).json()
    assert again["measured"]
    assert again["why"] == found["result"]["explanation"]
    assert "made of words only" in refused(door.client.post(f"{BASE}/balance", json={**blend, "style": "knight"}), 409, "conflict")

    assert [j["kind"] for j in door.get("/jobs")] == ["prepare", "train", "portraits", "balance"]
    gone = door.client.delete(f"{BASE}/people/{PERSON}")
    assert gone.status_code == 200
    assert gone.json()["files"] > 10
    # How fast trainings run here says nothing about anybody.
    assert [p.name for p in door.root.rglob("*") if p.is_file()] == ["speeds.json"]
    refused(door.client.get(portraits[0]["url"]), 404, "not-found")


def test_photos_in_json(door: Door, photos: Photos, no_leftovers: Path):
    sent: list[Any] = in_json(photos[:2])
    sent.append("data:image/png;base64," + base64.b64encode(photos[2][1]).decode())
    job = door.finished(door.client.post(f"{BASE}/prepare", json={"person": "Ada", "photos": sent}))
    assert job["result"]["accepted"] == 3
    assert [v["file"] for v in job["result"]["photos"]] == ["1.png", "2.png", "photo-3"]
    assert sorted(p.name for p in door.root.iterdir()) == ["people"]


def test_previews_of_a_training_are_its_pictures(door: Door, photos: Photos):
    door.finished(door.client.post(f"{BASE}/prepare", data={"person": "Ada"}, files=form(photos)))
    job = door.finished(door.client.post(f"{BASE}/train", json={"person": "Ada", "settings": {**TRAIN, "previews": 1, "preview_every": 1}}))
    assert len(job["images"]) >= 1
    assert door.client.get(job["images"][0]["url"]).content.startswith(b"\x89PNG")


def test_a_text_file_gets_its_verdict_and_leaves_nothing(door: Door, no_leftovers: Path):
    files = form([("../../holiday.jpg", b"this is not a picture"), ("C:\\nul.png", b"nor this")])
    job = door.finished(door.client.post(f"{BASE}/prepare", data={"person": "Ada"}, files=files))
    assert job["state"] == "failed"
    assert job["error"].startswith("None of the 2 photos can be used.")
    assert [v["reasons"] for v in job["result"]["photos"]] == [["unreadable"], ["unreadable"]]
    assert job["result"]["photos"][0]["file"] == "holiday.jpg"
    assert "not a photo" in job["result"]["photos"][0]["sentences"][0]
    assert door.contents() == {}


def test_an_upload_that_never_began_leaves_nothing(door: Door, held: Callable[..., str], photos: Photos, no_leftovers: Path):
    running = held()
    waiting = door.client.post(f"{BASE}/prepare", data={"person": "Ada"}, files=form(photos)).json()["job_id"]
    assert door.get(f"/jobs/{waiting}")["ahead"] == 1
    assert door.get("/health") == {**door.get("/health"), "status": "ok", "running": running, "waiting": 1}
    private = next(door.root.glob(f"{PRIVATE_PREFIX}*"))
    assert os.name == "nt" or private.stat().st_mode & 0o77 == 0
    answer = door.client.delete(f"{BASE}/jobs/{waiting}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert door.contents() == {}


def test_what_a_killed_process_left_goes_with_the_next_upload(door: Door, photos: Photos):
    left = door.root / f"{PRIVATE_PREFIX}dead"
    left.mkdir(parents=True)
    (left / "face.jpg").write_bytes(b"x")
    os.utime(left, (1, 1))
    door.finished(door.client.post(f"{BASE}/prepare", data={"person": "Ada"}, files=form(photos)))
    assert not left.exists()


@pytest.mark.parametrize("how", ["form", "json"])
@pytest.mark.parametrize(
    ("field", "value"), [("photo_bytes", 100), ("photos", 1), ("multipart_bytes", 1000), ("json_bytes", 1000)], ids=lambda v: str(v)
)
def test_too_large_an_upload(
    door: Door, photos: Photos, how: str, field: str, value: int, monkeypatch: pytest.MonkeyPatch, no_leftovers: Path
):
    if field == {"form": "json_bytes", "json": "multipart_bytes"}[how]:
        pytest.skip("the other form's limit")
    monkeypatch.setattr(uploads, "LIMITS", uploads.UploadLimits(**{field: value}))
    if how == "form":
        answer = door.client.post(f"{BASE}/prepare", data={"person": "Ada"}, files=form(photos))
    else:
        answer = door.client.post(f"{BASE}/prepare", json={"person": "Ada", "photos": in_json(photos)})
    refused(answer, 413, "too-large")
    assert not door.root.exists() or door.contents() == {}
    assert door.get("/jobs") == []


def test_a_body_without_length_is_cut_off_too(door: Door):
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    answer = door.client.post(f"{BASE}/train", content=endless(), headers={"content-type": "application/json"})
    refused(answer, 413, "too-large")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'person'"),
        ({"person": "Ada", "photos": [], "extra": 1}, "'extra'"),
        ({"person": "Ada", "photos": []}, "no photos"),
        ({"person": "Ada", "photos": ["%%%"]}, "'photo 1' is not base64"),
        ({"person": "../evil", "photos": ["aGk="]}, "cannot be a person's name"),
        ({"person": "con", "photos": ["aGk="]}, "Windows"),
        ({"person": "", "photos": ["aGk="]}, "1 to 64 characters"),
        ({"person": "Ada", "photos": ["aGk="], "settings": {"crop_scal": 1}}, "did you mean 'crop_scale'"),
        ({"person": "Ada", "photos": ["aGk="], "settings": {"resolution": 7}}, "'resolution' must lie"),
        ({"person": "Ada", "photos": ["aGk="], "checkpoint": "/etc/passwd"}, "no checkpoint called"),
        ([], "must be a JSON object"),
    ],
)
def test_prepare_refuses(door: Door, body: Any, words: str, no_leftovers: Path):
    answer = door.client.post(f"{BASE}/prepare", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["message"]
    assert not door.root.exists() or door.contents() == {}


@pytest.mark.parametrize(
    ("data", "headers", "words"),
    [
        ({"person": "Ada", "settings": "{"}, {}, "'settings' is not JSON"),
        ({"person": "Ada", "settings": "[1]"}, {}, "'settings' must be a JSON object"),
        ({}, {}, "a name is required"),
        ({"person": "Ada", "out": "/tmp"}, {}, "Unknown fields: out"),
        ({"person": "Ada"}, {"sec-fetch-site": "cross-site"}, "another site"),
    ],
)
def test_prepare_refuses_forms(door: Door, photos: Photos, data: Any, headers: Any, words: str, no_leftovers: Path):
    answer = door.client.post(f"{BASE}/prepare", data=data, files=form(photos[:1]), headers=headers)
    assert words in refused(answer, 422, "bad-input")
    assert not door.root.exists()


def test_prepare_refuses_other_bodies(door: Door):
    refused(door.client.post(f"{BASE}/prepare", content=b"x", headers={"content-type": "text/plain"}), 422, "bad-input")
    refused(door.client.post(f"{BASE}/prepare", content=b"{", headers={"content-type": "application/json"}), 422, "bad-input")
    broken = door.client.post(f"{BASE}/prepare", content=b"x", headers={"content-type": "multipart/form-data"})
    assert broken.status_code in (400, 422)
    assert set(broken.json()) == {"error", "message"}
    texts = door.client.post(f"{BASE}/prepare", data={"person": "Ada", "photos": "text"}, files={"other": b"x"})
    refused(texts, 422, "bad-input")


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("/train", {"person": "Nobody"}, 404, "not-found", "no person called 'Nobody'"),
        ("/train", {"person": "a/b"}, 422, "bad-input", "cannot be a person's name"),
        ("/train", {"person": PERSON, "settings": {"steps": 0, "rnk": 1}}, 422, "bad-settings", "did you mean 'rank'"),
        ("/train", {"person": PERSON, "settings": {"learning_rate": 10}}, 422, "bad-settings", "learning_rate"),
        ("/train", {"person": PERSON, "settings": {"rank": 0}}, 422, "bad-settings", "1 and 256"),
        ("/styles/train", {"name": "Nonsuch", "resume": True}, 422, "bad-input", "no unfinished training"),
        ("/styles/train", {"name": "Nonsuch"}, 422, "bad-input", "Send pictures"),
        ("/train", {"person": PERSON, "checkpoint": "other"}, 422, "bad-input", "Known: tiny-faces"),
        ("/train", {"person": PERSON, "checkpoint": "/etc/hostname"}, 422, "bad-input", "no checkpoint called"),
        ("/train", {"person": PERSON, "out": "/tmp"}, 422, "bad-request", "'out'"),
        ("/train", {}, 422, "bad-request", "'person'"),
        ("/portraits", {"person": "Nobody"}, 404, "not-found", "no person called"),
        ("/portraits", {"person": PERSON, "style": "knigt"}, 422, "bad-input", "knight"),
        ("/portraits", {"person": PERSON, "style": "../../etc/passwd"}, 422, "bad-input", "style"),
        ("/portraits", {"person": PERSON, "settings": {"count": 101}}, 422, "bad-settings", "'count' must lie"),
        ("/portraits", {"person": PERSON, "settings": {"sampler": "x"}}, 422, "bad-settings", "'sampler' must be one of"),
        ("/portraits", {"person": PERSON, "settings": []}, 422, "bad-request", "'settings'"),
    ],
)
def test_jobs_refused_at_once(trained: Door, path: str, body: Any, status: int, code: str, words: str):
    before = len(trained.get("/jobs"))
    assert words in refused(trained.client.post(BASE + path, json=body), status, code)
    assert len(trained.get("/jobs")) == before


def test_what_must_happen_first(door: Door, photos: Photos):
    (door.studio.workspace.people_root / "Ada").mkdir(parents=True)
    assert "POST /prepare first" in refused(door.client.post(f"{BASE}/train", json={"person": "Ada"}), 409, "conflict")
    assert "POST /train first" in refused(door.client.post(f"{BASE}/portraits", json={"person": "Ada"}), 409, "conflict")


def test_a_busy_person_is_not_deleted(trained: Door, door: Door, held: Callable[..., str]):
    (door.studio.workspace.people_root / "Ada").mkdir(parents=True)
    job = held(person="Ada")
    assert job in refused(door.client.delete(f"{BASE}/people/Ada"), 409, "conflict")
    assert door.studio.workspace.people() == ["Ada"]


def test_the_hosts_refusal_is_409(trained: Door, monkeypatch: pytest.MonkeyPatch):
    def refuse(_request: object) -> None:
        raise HostError("The WebUI was started with --lowvram. Start it without.")

    monkeypatch.setattr(trained.studio, "submit_train", refuse)
    assert "--lowvram" in refused(trained.client.post(f"{BASE}/train", json={"person": PERSON}), 409, "host")


def test_what_nobody_expected_shows_no_traceback(trained: Door, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise ZeroDivisionError("/home/secret/path")

    monkeypatch.setattr(trained.studio, "people", fail)
    answer = trained.client.get(f"{BASE}/people")
    assert "secret" not in refused(answer, 500, "unexpected")


@pytest.mark.parametrize(
    "path",
    [
        "/people/Nobody",
        "/people/Nobody/export",
        "/people/..%2F..%2Fetc%2Fpasswd",
        "/jobs/none",
        "/jobs/..%2f..%2fetc",
        "/jobs/none/images/0",
        "/nothing",
        "/nothing/at/all",
    ],
)
def test_not_found(door: Door, path: str):
    refused(door.client.get(BASE + path), 404, "not-found")


@pytest.mark.parametrize("name", ["%2e%2e", "%2E", "a%5Cb", "a%00b", "nul", "%20", "x" * 65, "-rf", "a:b", "~root"])
def test_names_that_cannot_be(trained: Door, name: str):
    before = trained.contents()
    for method, path in (("GET", ""), ("GET", "/export"), ("DELETE", "")):
        answer = trained.client.request(method, f"{BASE}/people/{name}{path}")
        assert answer.status_code in (404, 422), answer.text
        assert set(answer.json()) == {"error", "message"}
    assert trained.contents() == before


def test_pictures_that_are_not_there(trained: Door):
    job = trained.get("/jobs")[0]["id"]
    refused(trained.client.get(f"{BASE}/jobs/{job}/images/0"), 404, "not-found")
    refused(trained.client.get(f"{BASE}/jobs/{job}/images/-1"), 404, "not-found")
    refused(trained.client.get(f"{BASE}/jobs/{job}/images/x"), 422, "bad-request")


def test_no_file_outside_the_workspace_is_served(door: Door, tmp_path: Path):
    outside = tmp_path / "outside.png"
    Image.new("RGB", (8, 8)).save(outside)
    door.root.mkdir()
    link, secret = door.root / "link.png", door.root / "person.json"
    link.symlink_to(outside)
    secret.write_text("{}")
    job = door.studio.jobs.submit("train", "Ada", lambda _sink, _token: None)
    assert job.wait(10)
    for file in (outside, link, secret, door.root / ".." / "outside.png"):
        job.pictures[:] = [(str(file), "")]
        refused(door.client.get(f"{BASE}/jobs/{job.id}/images/0"), 404, "not-found")


def test_no_path_of_this_machine_is_told(trained: Door):
    said = [trained.client.get(BASE + path).text for path in ("/people", "/styles", "/checkpoints", "/jobs", "/health")]
    said += [trained.client.get(f"{BASE}/jobs/{j['id']}").text for j in trained.get("/jobs")]
    assert not [text for text in said if str(trained.root) in text or "site-packages" in text or str(Path.home()) + "/" in text]


@pytest.mark.parametrize(("photos_too", "expected"), [(False, 0), (True, 5)])
def test_export(trained: Door, photos_too: bool, expected: int, no_leftovers: Path):
    before = trained.contents()
    answer = trained.client.get(f"{BASE}/people/{PERSON}/export", params={"photos": photos_too})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert sum(n.endswith(".safetensors") for n in names) >= 1
    assert sum(n.startswith("dataset/") and Path(n).stem.isdigit() for n in names) >= expected
    assert bool(expected) == any(n.startswith("dataset/") for n in names)
    assert trained.contents() == before


def test_stop_and_cancel(door: Door, held: Callable[..., str]):
    for query, kind, state in (("", "train", "cancelled"), ("?keep=true", "train", "done"), ("", "portraits", "cancelled")):
        job = held(kind)
        assert door.client.delete(f"{BASE}/jobs/{job}{query}").status_code == 200
        assert door.studio.jobs.get(job).wait(10)
        assert door.get(f"/jobs/{job}")["state"] == state
        again = door.client.delete(f"{BASE}/jobs/{job}")
        assert (again.status_code, again.json()["state"]) == (200, state)
    assert "Only a training" in refused(door.client.delete(f"{BASE}/jobs/{held('portraits')}?keep=true"), 422, "bad-input")
    refused(door.client.delete(f"{BASE}/jobs/none"), 404, "not-found")


def test_the_guard_stands_before_everything(door_at: Callable[..., Door], tmp_path: Path, photos: Photos, no_leftovers: Path):
    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
        if (given.username, given.password) != ("ada", "secret"):
            raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    door = door_at(tmp_path / "workspace", (Depends(check),))
    paths = door.client.get(f"{BASE}/openapi.json", auth=("ada", "secret")).json()["paths"]
    asked = 0
    for path, methods in [*paths.items(), (f"{BASE}/openapi.json", ["get"]), (f"{BASE}/nothing", ["get"])]:
        for method in methods:
            for auth in (None, ("ada", "wrong")):
                answer = door.client.request(method.upper(), path.format(name="Ada", job_id="x", index=0, style_id="knight"), auth=auth)
                assert answer.status_code == 401, (method, path)
                assert answer.json()["error"] == "unauthorized"
                assert answer.headers["www-authenticate"].startswith("Basic")
                asked += 1
    assert asked >= 28
    refused_upload = door.client.post(f"{BASE}/prepare", data={"person": "Ada"}, files=form(photos))
    assert refused_upload.status_code == 401
    assert not door.root.exists()
    assert door.client.get(f"{BASE}/health", auth=("ada", "secret")).status_code == 200


def test_nothing_is_made_before_the_first_request(tmp_path: Path):
    from fastapi import FastAPI

    from facechain_ext.api.routes import install_routes

    install_routes(FastAPI(), lambda: pytest.fail("too early"))


def test_styles_and_checkpoints(door: Door):
    styles = door.get("/styles")
    assert "knight" in {s["id"] for s in styles}
    first = door.get("/checkpoints")[0]
    assert (first["name"], first["default"]) == ("tiny-faces", True)
    assert {"steps", "rank"} <= set(first["train"])
    assert not door.root.exists()


def test_the_hosts_own_routes_keep_their_own_errors():
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from facechain_ext.api.routes import install_routes

    app = FastAPI()

    @app.get("/host/{number}")
    def host(number: int) -> int:
        return number

    install_routes(app, lambda: pytest.fail("not needed"))
    answer = TestClient(app).get("/host/x")
    assert answer.status_code == 422
    assert "detail" in answer.json()
    assert app.exception_handlers.keys() == FastAPI().exception_handlers.keys()


def test_an_estimate_before_the_training(door: Door, monkeypatch: pytest.MonkeyPatch):
    def told(**settings: Any) -> Any:
        answer = door.client.post(f"{BASE}/estimate", json={"settings": settings})
        assert answer.status_code == 200, answer.text
        return answer.json()

    small, large = told(batch=1), told(batch=4)
    assert 0 < small["memory_bytes"] < large["memory_bytes"]
    assert (small["fits"], small["instead"], small["measured"]) == (True, None, False)
    own = door.studio.estimate(None, door.studio.checkpoint(None).train)
    assert told()["memory_bytes"] == own.memory
    # As if less were free than batch 4 takes.
    footprint = type(door.studio._checkpoints).footprint
    free = large["memory_bytes"] * 9 // 10
    monkeypatch.setattr(type(door.studio._checkpoints), "footprint", lambda *a: dataclasses.replace(footprint(*a), free=free))
    short = told(batch=4)
    assert not short["fits"]
    assert short["instead"] == {"batch": 2, "accumulation": 2}
    assert told(**{"batch": 4, **short["instead"]})["fits"]
    assert "steps" in refused(door.client.post(f"{BASE}/estimate", json={"settings": {"steps": 0}}), 422, "bad-settings")
    assert not door.root.exists()


def test_photos_are_kept_when_the_settings_say_so(door: Door, photos: Photos, no_leftovers: Path):
    body = {"person": PERSON, "photos": in_json(photos), "settings": {"keep_photos": True}}
    assert door.finished(door.client.post(f"{BASE}/prepare", json=body))["state"] == "done"
    assert door.get(f"/people/{PERSON}")["originals"] == len(photos)


def test_a_zip_of_photos(door: Door, photos: Photos, no_leftovers: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in photos:
            archive.writestr(f"../{name}", data)
    job = door.finished(door.client.post(f"{BASE}/prepare", data={"person": PERSON}, files=form([("album.zip", packed.getvalue())])))
    assert (job["state"], job["result"]["accepted"]) == ("done", len(photos)), job
    assert {p["file"] for p in job["result"]["photos"]} == {name for name, _ in photos}
    assert not [name for name in door.contents() if name.startswith(PRIVATE_PREFIX)]
    # A damaged one gets its verdict, the photos beside it are used.
    broken = packed.getvalue()[:40] + b"\xff" * 20 + packed.getvalue()[60:]
    job = door.finished(door.client.post(f"{BASE}/prepare", data={"person": PERSON}, files=form([("album.zip", broken), *photos])))
    assert job["result"]["accepted"] >= len(photos) - 1
    assert job["result"]["photos"][0]["reasons"] == ["unreadable"] or job["result"]["accepted"] == len(photos)


def test_verdicts_can_be_overruled(door: Door, photos: Photos, no_leftovers: Path):
    address = f"{BASE}/people/{PERSON}/decisions"
    assert "too long ago" in refused(door.client.post(address, json={"decisions": []}), 422, "bad-input")
    first = door.finished(door.client.post(f"{BASE}/prepare", json={"person": PERSON, "photos": in_json(photos)}))["result"]["photos"]
    assert first[0]["accepted"]
    assert [face["taken"] for face in first[0]["faces"]] == [True]
    assert all(0 <= edge <= 1 for edge in first[0]["faces"][0]["box"])

    def decide(*decisions: Any) -> Any:
        return door.client.post(address, json={"decisions": list(decisions)})

    answer = decide({"photo": 0, "leave_out": True}, {"photo": 1, "caption": "photo of sks person, in the rain"})
    assert answer.status_code == 200, answer.text
    changed = answer.json()["photos"]
    assert changed[0]["reasons"] == ["left-out"]
    assert changed[1]["caption"] == "photo of sks person, in the rain"
    assert door.get(f"/people/{PERSON}")["photos"] == len(photos) - 1
    stored = door.root / "people" / PERSON / "dataset"
    assert "in the rain" in (stored / "001.txt").read_text(encoding="utf-8")
    # What is not named is taken back.
    assert [p["accepted"] for p in decide().json()["photos"]] == [p["accepted"] for p in first]
    before = door.contents()
    assert "faces to choose from" in refused(decide({"photo": 0, "face": 9}), 422, "bad-input")
    assert "faces to choose from" in refused(decide({"photo": 99, "leave_out": True}), 422, "bad-input")
    assert "contradict" in refused(decide({"photo": 0, "face": 0, "leave_out": True}), 422, "bad-input")
    refused(decide(*({"photo": i, "leave_out": True} for i in range(len(photos)))), 422, "bad-input")
    assert door.contents() == before
    # With the person goes what was seen of the photos.
    door.client.delete(f"{BASE}/people/{PERSON}")
    assert "too long ago" in refused(decide(), 422, "bad-input")
