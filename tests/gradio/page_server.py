"""Runs inside each gradio's virtual environment: builds the page over an empty workspace, calls events over HTTP, prints one JSON object.

Neither torch nor the face models are there; whatever the pages import must do without.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def main() -> dict[str, Any]:
    import gradio as gr
    import httpx

    from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
    from facechain_ext.services.requests import CheckpointChoice
    from facechain_ext.services.studio import Studio
    from facechain_ext.ui.compat import major
    from facechain_ext.ui.page import build_page
    from facechain_ext.workspace import Workspace

    class OneCheckpoint:
        def gpus(self) -> int:
            return 2

        def choices(self) -> list[CheckpointChoice]:
            return [CheckpointChoice("tiny", Path("tiny"), "for tests", True, TrainConfig(steps=90), PortraitConfig(), PrepareConfig())]

        def find(self, choice: str | None) -> CheckpointChoice:
            return self.choices()[0]

        def open(self, choice: str | None) -> Any:
            raise NotImplementedError

    def no_analyzer() -> Any:
        raise NotImplementedError

    workspace = Workspace(tempfile.mkdtemp())
    studio = Studio(workspace, no_analyzer, OneCheckpoint())
    page = build_page(studio)
    _, url, _ = page.queue().launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, share=False, show_error=True)
    config = httpx.get(url + "config", timeout=30).json()
    labels = [c["props"].get("label") for c in config["components"]]
    shown = [c for c in config["components"] if c["props"].get("elem_id") == "facechain_train_steps"]
    prompt = call(url, major(), "facechain_compose", [None, "Fantasy · Knight in armour", "smiling, green scarf", "hat"])
    before = call(url, major(), "facechain_people", [])
    (workspace.people_root / "Anna <3").mkdir(parents=True)
    after = call(url, major(), "facechain_people", [])
    page.close()
    return {
        "gradio": gr.__version__,
        "labels": [label for label in labels if label],
        "steps": shown[0]["props"]["value"],
        "css": "#facechain_root" in json.dumps(config.get("css") or ""),
        "prompt": prompt,
        "before": before,
        "after": after,
        "heavy": sorted({"torch", "cv2", "diffusers", "insightface", "peft"} & set(sys.modules)),
    }


def call(url: str, major: int, name: str, data: list[Any]) -> Any:
    """The first output of the named event, called as a program would."""
    import httpx

    def answered(response: httpx.Response) -> httpx.Response:
        response.raise_for_status()
        return response

    if major == 3:
        return answered(httpx.post(f"{url}run/{name}", json={"data": data}, timeout=30)).json()["data"][0]
    base = f"{url}{'gradio_api/' if major >= 5 else ''}call/{name}"
    event = answered(httpx.post(base, json={"data": data}, timeout=30)).json()["event_id"]
    lines = answered(httpx.get(f"{base}/{event}", timeout=30)).text.splitlines()
    assert "event: complete" in lines, lines
    return json.loads(next(line for line in lines if line.startswith("data:"))[5:])[0]


if __name__ == "__main__":
    result = main()
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    sys.stdout.flush()
    # gradio's server threads need no goodbye.
    os._exit(0)
