"""What is registered with the WebUI, and how: tab, settings, API, 'Reload UI', missing packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import fastapi
import gradio as gr
import pydantic
import pytest
import webui
from fastapi.testclient import TestClient
from modules import infotext_utils, script_callbacks, scripts, shared

ROOT = Path(__file__).parents[2]
STUB = ROOT / "tests" / "webui_stub"
BASE = "/facechain/v1"


def registered(page):
    """How often each of our things is there."""
    # The API's routes come with the first request.
    TestClient(page.app).get(f"{BASE}/health")
    plot = next(s.module for s in scripts.scripts_data if s.script_class.__module__ == "xyz_grid.py")
    return {
        "callbacks": {name: len(found) for name, found in script_callbacks.callback_map.items()},
        "scripts": [
            len([s for s in r.alwayson_scripts if s.name == "facechain"]) for r in (scripts.scripts_txt2img, scripts.scripts_img2img)
        ],
        "axes": len([o for o in plot.axis_options if "FaceChain" in o.label]),
        "tabs": [(title, ident) for _, title, ident in page.tabs],
        "settings": sorted(key for key in shared.opts.data_labels if key.startswith("facechain")),
        "routes": Counter(r.path for r in page.app.routes if str(getattr(r, "path", "")).startswith("/facechain")),
        "send to": [binding.tabname for binding in infotext_utils.registered_param_bindings],
        "allowed folders": shared.cmd_opts.gradio_allowed_path,
    }


def test_versions_are_the_hosts():
    assert (gr.__version__, fastapi.__version__, pydantic.VERSION.split(".")[0]) == ("3.41.2", "0.94.0", "1")


def test_everything_is_there_once(page):
    found = registered(page)
    once = {"app_started": 1, "ui_settings": 1, "ui_tabs": 1, "before_ui": 1, "infotext_pasted": 1}
    assert {name: count for name, count in found["callbacks"].items() if count} == once
    assert found["scripts"] == [1, 1]
    assert found["tabs"] == [("FaceChain", "facechain")]
    assert found["settings"] == [f"facechain_{name}" for name in ("folder", "keep_photos", "language", "pack", "preset")]
    assert found["axes"] == 7
    assert f"{BASE}/train" in found["routes"]


def test_the_start_is_not_held_up(page):
    script_callbacks.searched.clear()
    again = webui.start(ROOT)
    assert script_callbacks.searched == []
    ours = [r for r in again.app.routes if str(getattr(r, "path", "")).startswith("/facechain")]
    assert [r.path for r in ours] == [f"{BASE}/{{rest:path}}"]


def test_reload_ui_doubles_nothing(page, draw):
    from facechain_ext.hosts.a1111.wiring import studio

    before, work, plain = registered(page), studio(), draw().pixels
    again = webui.start(ROOT)
    assert registered(again) == before
    assert studio() is work
    assert draw().pixels == plain
    client = TestClient(again.app)
    assert client.get(f"{BASE}/health").json()["status"] == "ok"


def test_settings_have_a_section_and_words(page):
    for key in ("facechain_folder", "facechain_pack"):
        option = shared.opts.data_labels[key]
        assert option.section == ("facechain", "FaceChain")
        assert option.label
    choices = shared.opts.data_labels["facechain_pack"].component_args
    assert "yunet_sface" in (choices() if callable(choices) else choices)["choices"]


def test_the_tab_is_part_of_the_page(page):
    config = page.demo.get_config_file()
    ids = [c["props"].get("elem_id") for c in config["components"]]
    assert {"facechain_refresh", "facechain_train_steps", "tab_facechain", "facechain_txt2img_panel", "facechain_img2img_panel"} <= set(ids)
    assert len([i for i in ids if i and i.startswith("facechain")]) == len({i for i in ids if i and i.startswith("facechain")})
    steps = next(c for c in config["components"] if c["props"].get("elem_id") == "facechain_train_steps")
    # The sidecar's of the loaded checkpoint.
    assert steps["props"]["value"] == 300


def test_an_event_of_the_tab_answers(page, person):
    client = TestClient(page.app)
    answer = client.post("/run/facechain_people", json={"data": []})
    assert answer.status_code == 200, answer.text
    assert person in answer.json()["data"][0]


def test_a_portrait_can_be_sent_to_every_page(page):
    assert [b.tabname for b in infotext_utils.registered_param_bindings] == ["txt2img", "img2img", "inpaint", "extras"]
    assert [b.source_text_component is None for b in infotext_utils.registered_param_bindings] == [False, False, False, True]


def test_api_trains_in_the_background(page, person, studio):
    client = TestClient(page.app)
    settings = {"steps": 2, "warmup": 0, "batch": 1, "rank": 2, "resolution": 64, "previews": 0, "preview_every": 0}
    answer = client.post(f"{BASE}/train", json={"person": person, "settings": settings})
    assert answer.status_code == 202, answer.text
    job = studio.jobs.get(answer.json()["job_id"])
    assert job.wait(120)
    said = client.get(f"{BASE}/jobs/{job.id}").json()
    assert (said["state"], said["result"]["steps"]) == ("done", 2), said
    assert person in json.dumps(client.get(f"{BASE}/people").json())
    assert client.get(f"{BASE}/checkpoints").json()[0]["name"] == "tiny-faces"


def test_api_asks_for_the_webuis_password(page, monkeypatch):
    monkeypatch.setattr(shared.cmd_opts, "api_auth", "ada:secret, eve:other")
    guarded = TestClient(webui.start(ROOT).app)
    try:
        for route, method in ((f"{BASE}/people", "get"), (f"{BASE}/train", "post"), (f"{BASE}/openapi.json", "get")):
            assert guarded.request(method, route).status_code == 401, route
            assert guarded.request(method, route, auth=("ada", "wrong")).status_code == 401, route
            assert guarded.request(method, route, auth=("nobody", "secret")).status_code == 401, route
        assert guarded.get(f"{BASE}/people", auth=("ada", "secret")).status_code == 200
        assert guarded.get(f"{BASE}/people", auth=("eve", "other")).status_code == 200
    finally:
        monkeypatch.undo()
        webui.start(ROOT)


@pytest.mark.parametrize(("api", "nowebui", "there"), [(False, False, False), (True, False, True), (False, True, True)])
def test_api_only_where_the_webuis_own_is(api, nowebui, there, page, monkeypatch):
    monkeypatch.setattr(shared.cmd_opts, "api", api)
    monkeypatch.setattr(shared.cmd_opts, "nowebui", nowebui)
    found = webui.start(ROOT)
    assert (f"{BASE}/train" in registered(found)["routes"]) is there
    monkeypatch.undo()
    webui.start(ROOT)


def started_alone(tmp_path: Path, what: str) -> dict[str, object]:
    """``tests/webui/alone.py`` in a process whose path, as the host's, does not hold the extension."""
    environment = {**os.environ, "WEBUI_STUB_DATA": str(tmp_path), "PYTHONPATH": str(STUB), "PYTHONDONTWRITEBYTECODE": "1"}
    script = Path(__file__).with_name("alone.py")
    done = subprocess.run([sys.executable, str(script), what], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_it_works_with_its_folder_on_the_path_only_while_it_loads(tmp_path):
    said = started_alone(tmp_path, "")
    assert said["errors"] == []
    assert said["path has us"] is False
    assert said["before imports us"] is False
    assert said["tabs"] == [["FaceChain", 1], ["FaceChain", 1]]
    assert said["scripts"] == [["facechain"], ["facechain"]]
    assert said["prepared"] == "done"
    assert said["trained"] == "done"
    assert said["modules kept"] is True


@pytest.mark.parametrize(
    ("package", "expected"), [("networks", "built-in extension Lora"), ("psutil", "psutil"), ("safetensors", "safetensors")]
)
def test_a_missing_package_is_a_tab_that_says_so(package, expected, tmp_path):
    said = started_alone(tmp_path, package)
    assert said["errors"] == []
    assert said["scripts"] == [[], []]
    assert [title for title, _ in said["tabs"]] == ["FaceChain", "FaceChain"]
    assert expected in said["text"]
    assert "FaceChain could not start" in said["text"]


@pytest.mark.parametrize("package", ["insightface", "peft"])
def test_what_only_some_work_needs_leaves_the_rest_alone(package, tmp_path):
    said = started_alone(tmp_path, package)
    assert said["errors"] == []
    assert said["scripts"] == [["facechain"], ["facechain"]]
    failed = said["prepare error"] if package == "insightface" else said["train error"]
    assert package in str(failed), said


def test_settings_reach_page_and_api(studio):
    from facechain_ext.hosts.a1111.extension import languages, wanted_preset

    before = dict(shared.opts.data)
    assert (wanted_preset(), studio.checkpoint(None).prepare.keep_photos) == ("Balanced", False)
    shared.opts.data.update(facechain_preset="Fast", facechain_keep_photos=True)
    assert (wanted_preset(), studio.checkpoint(None).prepare.keep_photos) == ("Fast", True)
    # What an older release wrote, or a hand.
    shared.opts.data.update(facechain_preset="Lightning")
    assert wanted_preset() == "Balanced"
    shared.opts.data = before
    assert languages() == ["zh_CN"]
