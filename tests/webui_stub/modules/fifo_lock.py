"""The queue: first come, first served, and not re-entrant (modules/fifo_lock.py). A second take by its owner hangs there for ever; here it fails."""

from __future__ import annotations

import threading
from collections import deque


class FIFOLock:
    def __init__(self) -> None:
        self._inner = threading.Condition()
        self._waiting: deque[int] = deque()
        self.owner: int | None = None
        self.takes = 0
        self.violations: list[str] = []

    def acquire(self, blocking: bool = True) -> bool:
        me = threading.get_ident()
        with self._inner:
            if self.owner == me:
                self.violations.append(f"{threading.current_thread().name} took the queue twice; the WebUI would hang")
                raise RuntimeError(self.violations[-1])
            if not blocking and (self.owner is not None or self._waiting):
                return False
            self._waiting.append(me)
            self._inner.wait_for(lambda: self.owner is None and self._waiting[0] == me)
            self._waiting.popleft()
            self.owner = me
            self.takes += 1
            return True

    def release(self) -> None:
        with self._inner:
            self.owner = None
            self._inner.notify_all()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()
