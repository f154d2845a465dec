"""Styles and prompts over HTTP."""

from __future__ import annotations

import base64

from facechain_ext.services.people import read_card, write_card
from tests.api.conftest import BASE, Door


def stored(door: Door, name: str = "Ada") -> None:
    """A person without photos: enough to compose prompts for."""
    folder = door.studio.workspace.person(name)
    folder.root.mkdir(parents=True)
    card = read_card(folder)
    write_card(folder, {**card, "trigger": "sks", "subject": "woman"})


def test_the_prompts_are_told_part_by_part(door: Door):
    stored(door)
    said = door.client.post(f"{BASE}/compose", json={"person": "Ada", "style": "knight", "prompt": "laughing", "negative": "hat"}).json()
    assert [p["source"] for p in said["parts"]] == ["style", "person", "style", "own"]
    assert "".join(p["text"] for p in said["parts"]) == said["prompt"]
    assert said["prompt"].endswith("laughing")
    assert said["negative"] == "modern clothes, hat"
    assert len(said["tokens"]) == 1
    assert door.client.post(f"{BASE}/compose", json={"person": "Eve"}).status_code == 404
    assert door.client.post(f"{BASE}/compose", json={"person": "Ada", "style": "knigt"}).status_code == 422


def test_a_style_is_saved_shared_imported_and_deleted(door: Door):
    body = {"name": "My Garden", "prompt": "roses, wall", "licence": "CC0"}
    saved = door.client.post(f"{BASE}/styles", json=body)
    assert saved.status_code == 200, saved.text
    assert (saved.json()["id"], saved.json()["prompt"], saved.json()["own"]) == ("my-garden", "photo of {person}, roses, wall", True)
    assert door.client.post(f"{BASE}/styles", json=body).status_code == 422
    assert door.client.post(f"{BASE}/styles", json={**body, "lora": "/etc/passwd", "replace": True}).status_code == 422
    assert door.client.post(f"{BASE}/styles", json={**body, "weight": 0.5, "replace": True}).json()["weight"] == 0.5
    assert door.client.get(f"{BASE}/styles/my-garden/picture").content[8:12] == b"WEBP"
    packed = door.client.get(f"{BASE}/styles/my-garden/export")
    assert packed.headers["content-disposition"] == 'attachment; filename="my-garden.facechain-style"'
    assert door.client.delete(f"{BASE}/styles/my-garden").json() == {"deleted": "my-garden"}
    assert door.client.get(f"{BASE}/styles/my-garden").status_code == 404
    assert door.client.delete(f"{BASE}/styles/knight").status_code == 422, "ours stay"
    as_file = {"content-type": "application/octet-stream"}
    back = door.client.post(f"{BASE}/styles/import?name=x.facechain-style", content=packed.content, headers=as_file)
    assert [s["id"] for s in back.json()["styles"]] == ["my-garden"], back.text
    assert door.client.post(f"{BASE}/styles/import?name=x.facechain-style", content=b"PK", headers=as_file).status_code == 422
    assert door.client.post(f"{BASE}/styles/import?name=x.json", content=packed.content).status_code == 422
    assert [p for p in door.contents() if p.startswith(".upload")] == []


def test_a_style_is_trained_from_pictures(door: Door, photos):
    pictures = [{"name": name, "data": base64.b64encode(data).decode(), "caption": "grey, studio"} for name, data in photos[:2]]
    settings = {"steps": 1, "rank": 2, "alpha": 2.0, "batch": 1, "warmup": 0, "previews": 0, "resolution": 64}
    job = door.finished(door.client.post(f"{BASE}/styles/train", json={"name": "Greys", "pictures": pictures, "settings": settings}))
    assert job["state"] == "done", job
    assert (job["result"]["style"], job["result"]["pictures"]) == ("greys", 2)
    style = door.get("/styles/greys")
    assert (style["prompt"], style["lora"], style["family"]) == ("{person}, greysstyle, grey, studio", "greys", "sd1")
    assert [p for p in door.contents() if p.startswith(".upload")] == [], "the pictures are not kept"
    assert door.client.post(f"{BASE}/styles/train", json={"name": "Greys", "pictures": pictures}).status_code == 422
