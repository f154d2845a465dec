"""The running WebUI as the tests see it: its own API, ours, and the probe's."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image as PilImage

LONG = 600.0
"""Seconds; the machine may be slow and busy."""
SETTLE = 8.0
SIDE = 128
QUICK = {"steps": 8, "warmup": 2, "batch": 1, "rank": 4, "save_every": 4, "preview_every": 4, "previews": 1}
"""A training of seconds on a tiny checkpoint."""


@dataclass(frozen=True)
class Drawn:
    """What txt2img or img2img answered."""

    pictures: list[bytes]
    """PNG files."""
    infotexts: list[str]
    info: dict[str, Any]
    said: dict[str, Any]
    """The whole answer without the pictures."""

    @property
    def pixels(self) -> list[str]:
        """A digest of each picture's pixels; infotext and compression do not count."""
        return [hashlib.sha256(PilImage.open(io.BytesIO(data)).convert("RGB").tobytes()).hexdigest() for data in self.pictures]


class WebUi:
    """One running server; ``folder`` is where its models, extensions and config.json are."""

    def __init__(self, url: str, folder: Path, auth: tuple[str, str] | None = None) -> None:
        self.url, self.folder = url.rstrip("/"), folder
        self.http = httpx.Client(base_url=self.url, timeout=LONG, trust_env=False, auth=auth)

    def get(self, path: str, **params: Any) -> Any:
        """A GET that must succeed."""
        answer = self.http.get(path, params=params)
        assert answer.is_success, f"GET {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def post(self, path: str, body: Any = None) -> Any:
        """A POST that must succeed."""
        answer = self.http.post(path, json=body if body is not None else {})
        assert answer.is_success, f"POST {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    @property
    def loras(self) -> Path:
        """Where our LoRAs land."""
        return self.folder / "models" / "Lora" / "FaceChain"

    def wait_ready(self, alive: Callable[[], bool] = lambda: True, seconds: float = 180) -> None:
        """Until it answers and has a checkpoint loaded."""
        end = time.monotonic() + seconds
        address = (self.http.base_url.host, self.http.base_url.port or 80)
        while time.monotonic() < end and alive():
            try:
                socket.create_connection(address, 5).close()
                break
            except OSError:
                time.sleep(0.5)
        # A request between gradio's start and the API's ends the WebUI: "Cannot add middleware after an application has started".
        time.sleep(SETTLE)
        while time.monotonic() < end and alive():
            try:
                if self.http.get("/sdapi/v1/options", timeout=20).is_success and self.get("/facechain/v1/checkpoints"):
                    return
            except (httpx.HTTPError, AssertionError):
                pass
            time.sleep(0.5)
        raise AssertionError(f"no WebUI with a loaded checkpoint at {self.url}")

    def draw(self, kind: str = "txt2img", **wanted: Any) -> Drawn:
        """Pictures through the WebUI's own API."""
        body = {
            "prompt": "photo of a person",
            "seed": 7,
            "steps": 6,
            "cfg_scale": 3,
            "width": SIDE,
            "height": SIDE,
            "sampler_name": "Euler a",
            **wanted,
        }
        said = self.post(f"/sdapi/v1/{kind}", body)
        pictures = [base64.b64decode(data) for data in said.pop("images") or []]
        info = json.loads(said["info"])
        return Drawn(pictures, info["infotexts"], info, said)

    def state(self) -> dict[str, Any]:
        """What the probe sees of model and WebUI."""
        return self.get("/facechain-probe/state")

    def fail_at(self, step: int, kind: str = "error") -> None:
        """Let prediction ``step`` of the next training raise; 0 ends that."""
        self.post("/facechain-probe/fail", {"step": step, "kind": kind})

    def prepare(self, person: str, photos: Sequence[Path], **settings: Any) -> dict[str, Any]:
        """A person from photos."""
        sent = [{"name": file.name, "data": base64.b64encode(file.read_bytes()).decode()} for file in photos]
        body = {"person": person, "photos": sent, "settings": {"trigger": "fchost", "subject": "man", **settings}}
        return self.finish(self.post("/facechain/v1/prepare", body)["job_id"])

    def train(self, person: str, **settings: Any) -> str:
        """Start a short training; return its job's id."""
        return self.post("/facechain/v1/train", {"person": person, "settings": {**QUICK, **settings}})["job_id"]

    def job(self, job: str) -> dict[str, Any]:
        """Where the job stands."""
        return self.get(f"/facechain/v1/jobs/{job}")

    def until(self, job: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job as soon as ``reached`` says so, or it ended."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            now = self.job(job)
            if reached(now) or now["finished"]:
                return now
            time.sleep(0.1)
        raise AssertionError(f"job {job} did not get there: {now}")

    def until_busy(self) -> None:
        """Wait until the WebUI is making something."""
        end = time.monotonic() + LONG
        while not self.get("/sdapi/v1/progress")["state"]["job_count"]:
            assert time.monotonic() < end
            time.sleep(0.05)

    def finish(self, job: str) -> dict[str, Any]:
        """The job when it ended."""
        return self.until(job, lambda _: False)

    def at_step(self, job: str, step: int) -> dict[str, Any]:
        """The running job once it trained ``step`` steps."""
        return self.until(job, lambda now: now["stage"] == "train" and now["step"] >= step)

    def cancel(self, job: str, *, keep: bool = False) -> None:
        """Give the job up, or stop it and keep what it learned."""
        answer = self.http.delete(f"/facechain/v1/jobs/{job}", params={"keep": keep})
        assert answer.is_success, answer.text

    def person(self, name: str) -> dict[str, Any] | None:
        """What is stored of a person."""
        answer = self.http.get(f"/facechain/v1/people/{name}")
        return answer.json() if answer.is_success else None

    def delete(self, name: str) -> None:
        """Delete the person if there is one."""
        answer = self.http.delete(f"/facechain/v1/people/{name}")
        assert answer.status_code in (200, 404), answer.text

    def lora_names(self) -> list[str]:
        """What the WebUI's own LoRA list has."""
        return [lora["name"] for lora in self.get("/sdapi/v1/loras")]


def values(infotext: str) -> dict[str, str]:
    """``key: value`` pairs of an infotext's last line, as far as ours go (no quoting)."""
    last = infotext.strip().splitlines()[-1]
    return dict(pair.split(": ", 1) for pair in last.split(", ") if ": " in pair)
