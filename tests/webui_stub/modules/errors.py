"""Where swallowed exceptions go; the tests look here, since the host only prints (modules/errors.py:38)."""

import sys
import traceback

reported: list[str] = []


def report(message: str, *, exc_info: bool = False) -> None:
    reported.append(f"{message}: {sys.exc_info()[1]!r}" if exc_info else message)
    if exc_info:
        traceback.print_exc()


def display(error: Exception, task: str) -> None:
    report(f"{task} ({error!r})")
