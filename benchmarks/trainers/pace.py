"""Lets a trainer take its steps one at a time, when the driver says so, and tells what each cost. Standard library only."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

ANSWERS, ORDERS = "FACECHAIN_PACE_ANSWERS", "FACECHAIN_PACE_ORDERS"
"""Environment variables that name the two pipes' file descriptors."""


class Pace:
    """One end of the driver's pipes."""

    def __init__(self) -> None:
        self._answers = os.fdopen(int(os.environ[ANSWERS]), "w", buffering=1)
        self._orders = os.fdopen(int(os.environ[ORDERS]))
        self._cpu = self._wall = 0.0
        self._loaded = self._most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def loaded(self) -> None:
        """The model is in memory, nothing else yet."""
        self._loaded = resident()

    def ready(self) -> None:
        """Everything is encoded, the first step comes next: wait for the driver."""
        self._say(ready=time.monotonic(), loaded=self._loaded)
        self._wait()

    def stepped(self) -> None:
        """A step is over: tell its cost and wait for the next order."""
        self._say(cpu=time.process_time() - self._cpu, wall=time.perf_counter() - self._wall, peak=self._most)
        self._wait()

    def _watch(self) -> None:
        # The kernel's own high-water mark counts mapped files too.
        while True:
            self._most = max(self._most, resident())
            time.sleep(0.02)

    def _say(self, **values: Any) -> None:
        self._answers.write(json.dumps(values) + "\n")

    def _wait(self) -> None:
        if self._orders.readline().strip() != "step":
            # The driver has seen enough: no LoRA is wanted.
            sys.stdout.flush()
            os._exit(0)
        self._cpu, self._wall = time.process_time(), time.perf_counter()


def resident() -> int:
    """Bytes of private memory in use now; mapped files, which the system may drop, left out."""
    with open("/proc/self/status") as source:
        fields = dict(line.split(":", 1) for line in source)
    return int(fields["RssAnon"].split()[0]) * 1024
