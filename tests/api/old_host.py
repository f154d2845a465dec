"""Runs inside a host's virtual environment (its own fastapi and pydantic, no torch): builds the schema, calls the API, prints one JSON object."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import fastapi
import pydantic
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.testclient import TestClient


def main() -> dict[str, Any]:
    from facechain_ext.api.later import install_at_first_request
    from facechain_ext.api.routes import install_routes
    from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
    from facechain_ext.faces.types import PhotoVerdict, Preparation, Reason
    from facechain_ext.progress import LossPoint
    from facechain_ext.services import studio as studios
    from facechain_ext.services.requests import CheckpointChoice, PrepareRequest, TrainResult
    from facechain_ext.workspace import PRIVATE_PREFIX as PREFIX
    from facechain_ext.workspace import Workspace

    seen: list[bytes] = []

    class OneCheckpoint:
        def choices(self) -> list[CheckpointChoice]:
            return [CheckpointChoice("tiny", Path("tiny"), "for tests", True, TrainConfig(steps=90), PortraitConfig(), PrepareConfig())]

        def find(self, choice: str | None) -> CheckpointChoice:
            return self.choices()[0]

        def open(self, choice: str | None) -> Any:
            raise NotImplementedError

    def no_analyzer() -> Any:
        raise NotImplementedError

    def work(request: PrepareRequest, *_: Any) -> Preparation:
        seen.extend(p.read_bytes() for p in request.sources)
        verdicts = [PhotoVerdict(p.name, False, (Reason.NO_FACE,), ("No face.",)) for p in request.sources]
        return Preparation(tuple(verdicts), None, ("Add more.",))

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008 - fastapi's way
        if (given.username, given.password) != ("ada", "secret"):
            raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    temporary = Path(tempfile.mkdtemp())
    tempfile.tempdir = str(temporary)
    workspace = Workspace(temporary / "workspace")
    studio = studios.Studio(workspace, no_analyzer, OneCheckpoint())
    # The real one needs OpenCV; what is tested here is the way to it.
    studio.prepare = work  # type: ignore[method-assign]
    sys.modules["facechain_ext.services.prepare_person"] = type(sys)("stub")
    sys.modules["facechain_ext.services.prepare_person"].NoUsablePhoto = RuntimeError  # type: ignore[attr-defined]
    app = FastAPI()
    # As in the WebUI: the upload below is the first request.
    install_at_first_request(app, lambda: install_routes(app, lambda: studio, guard=(Depends(check),)))
    stranger, client = TestClient(app), TestClient(app)
    client.auth = ("ada", "secret")
    base = "/facechain/v1"
    refusals = []

    def refuse(answer: Any) -> None:
        refusals.append([answer.status_code, sorted(answer.json()), answer.json()["error"]])

    files = [("photos", ("a.jpg", b"first" * 500_000, "image/jpeg")), ("photos", ("b.jpg", b"second", "image/jpeg"))]
    refuse(stranger.post(f"{base}/prepare", data={"person": "Ada"}, files=files))
    refuse(client.get(f"{base}/people/Ada"))
    refuse(client.get(f"{base}/people/%2e%2e"))
    refuse(client.post(f"{base}/train", json={"person": "Ada", "x": 1}))
    refuse(client.post(f"{base}/train", content=b" " * (2 << 20), headers={"content-type": "application/json"}))
    refuse(client.post(f"{base}/prepare", data={"person": "Ada", "settings": "{"}, files=files))
    refuse(client.post(f"{base}/prepare", json={"person": "Ada", "photos": [{"data": "%"}]}))
    refuse(client.post(f"{base}/prepare", json={"person": "Ada", "photos": [{"name": "x"}]}))
    refuse(client.get(f"{base}/jobs/none"))
    jobs = [client.post(f"{base}/prepare", data={"person": "Ada"}, files=files)]
    jobs.append(client.post(f"{base}/prepare", json={"person": "Ada", "photos": [base64.b64encode(b"third").decode()]}))
    ids = [answer.json()["job_id"] for answer in jobs]
    for one in ids:
        assert studio.jobs.get(one).wait(30)
    trained = TrainResult("Ada", Path("Ada.safetensors"), 2, 1.0, float("nan"), None, False, (LossPoint(1, float("nan"), 0.1),), ())
    job = studio.jobs.submit("train", "Ada", lambda _sink, _token: trained)
    assert job.wait(30)
    document = client.get(f"{base}/openapi.json").json()
    return {
        "fastapi": fastapi.__version__,
        "pydantic": pydantic.VERSION,
        "paths": sorted(document["paths"]),
        "app_paths": sorted(app.openapi()["paths"]),
        "examples": json.dumps(document).count('"example"'),
        "refusals": refusals,
        "accepted": [answer.status_code for answer in jobs],
        "seen": [len(data) for data in seen],
        "prepared": client.get(f"{base}/jobs/{ids[0]}").json(),
        "trained": client.get(f"{base}/jobs/{job.id}").json(),
        "checkpoints": client.get(f"{base}/checkpoints").json(),
        "listed": len(client.get(f"{base}/jobs").json()),
        "left": [str(p) for p in temporary.rglob("*") if p.is_file() or p.name.startswith(PREFIX)],
        "heavy": sorted({"torch", "cv2", "diffusers", "insightface", "peft", "gradio"} & set(sys.modules)),
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(main()) + "\n")
