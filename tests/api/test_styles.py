"""Styles and prompts over HTTP."""

from __future__ import annotations

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
