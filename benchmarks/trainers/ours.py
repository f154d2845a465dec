"""FaceChain's own training, one step at a time: ``ours.py CHECKPOINT PHOTOS SETTINGS.json``, through the functions every host uses."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]
from pace import Pace  # noqa: E402

from facechain_ext.config import TrainConfig  # noqa: E402
from facechain_ext.faces.types import Dataset, PreparedPhoto  # noqa: E402
from facechain_ext.hosts.standalone import host as standalone  # noqa: E402
from facechain_ext.progress import CancelToken, Progress, Stage  # noqa: E402
from facechain_ext.training.loop import Watch, train  # noqa: E402

UNKNOWN = np.zeros(128, np.float32)


def main() -> None:
    """Command line."""
    pace = Pace()
    checkpoint, photos, settings = map(Path, sys.argv[1:])
    if os.environ.get("FACECHAIN_BENCH_PLAIN_MALLOC"):
        standalone.keep_heap = lambda: False
    host = standalone.StandaloneHost(checkpoint)
    host.parts()
    pace.loaded()

    encoding: list[float] = []

    def heard(event: Progress) -> None:
        if event.stage is Stage.CACHE:
            encoding.append(time.monotonic())
        if event.stage is Stage.TRAIN:
            pace.stepped()

    opened = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, host.open_session() as session:
        predict, begun = session.predict, False

        def first(*args: Any) -> Any:
            nonlocal begun
            if not begun:
                begun = True
                encoded = encoding[-1] - encoding[0] if encoding else 0.0
                took = time.monotonic() - opened - encoded
                print(f"ours: {took:.1f} s from open_session to the first step, and {encoded:.1f} s encoding", file=sys.stderr)
                pace.ready()
            return predict(*args)

        session.predict = first
        watch = Watch(heard, CancelToken(), lambda image: None)
        train(session, dataset(photos), TrainConfig.from_dict(json.loads(settings.read_text())), Path(folder), watch)


def dataset(folder: Path) -> Dataset:
    """The pictures of ``folder`` with their captions, a mask in the middle of each."""
    made = []
    for file in sorted(folder.glob("*.png")):
        image = np.asarray(Image.open(file).convert("RGB"))
        mask = np.zeros(image.shape[:2], np.uint8)
        high, wide = image.shape[0] // 4, image.shape[1] // 4
        mask[high:-high, wide:-wide] = 255
        made.append(PreparedPhoto(image, mask, file.with_suffix(".txt").read_text().strip(), file.stem, UNKNOWN, 1.0))
    return Dataset("bench", "sks", "person", made[0].image.shape[0], tuple(made), "none", "none", UNKNOWN)


if __name__ == "__main__":
    main()
