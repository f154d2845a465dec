"""What the extension adds to a WebUI's start and memory: the same WebUI started with it and without it, in turns.

    python benchmarks/webui_start.py --start COMMAND --name facechain [--rounds 5]

COMMAND starts the WebUI, called as ``COMMAND PORT FLAGS...``; ``--name`` is the extension's folder under ``extensions``. The seconds are
the WebUI's own ("Startup time: …"), the memory is the resident memory of its process once it listens and has loaded its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SETTLE_S = 10
"""After the WebUI listens: its checkpoint is loaded meanwhile."""
STARTUP = re.compile(r"Startup time: (?:(\d+)m )?([\d.]+)s(?: \((.*)\))?")


def started(command: str, disabled: list[str]) -> tuple[float, float, str]:
    """Seconds to start, resident MiB, and the WebUI's own list of what took how long."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "config.json"
        settings.write_text(json.dumps({"disabled_extensions": disabled}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [*shlex.split(command), str(port), "--ui-settings-file", str(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := STARTUP.search(line):
                    time.sleep(SETTLE_S)
                    return 60 * int(found[1] or 0) + float(found[2]), _resident(os.getpgid(process.pid)), found[3] or ""
            raise SystemExit("The WebUI ended before it had started.")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _resident(group: int) -> float:
    """MiB of the largest process of the group."""
    sizes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(entry.name)) == group:
                sizes.append(int(re.search(r"VmRSS:\s+(\d+)", (entry / "status").read_text())[1]) / 1024)  # type: ignore[index]
        except (OSError, TypeError):
            continue
    return max(sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", required=True)
    parser.add_argument("--name", default="facechain")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    for _ in range(args.rounds):
        for kind, disabled in (("without", [args.name]), ("with", [])):
            seconds, memory, parts = started(args.start, disabled)
            found[kind].append((seconds, memory))
            print(f"{kind:>8}: {seconds:.1f} s, {memory:.0f} MiB ({parts})", flush=True)
    for i, unit in enumerate(("s", "MiB")):
        middle = {kind: statistics.median(run[i] for run in runs) for kind, runs in found.items()}
        least = {kind: min(run[i] for run in runs) for kind, runs in found.items()}
        print(
            f"added: {middle['with'] - middle['without']:+.2f} {unit} by the medians, {least['with'] - least['without']:+.2f} {unit} by the least"
        )


if __name__ == "__main__":
    main()
