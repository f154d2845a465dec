"""Installs what FaceChain needs into the WebUI's environment, and nothing else.

The WebUI runs this file at every start, in a process of its own, and prints what it wrote when it ends. Hence the rules:
when nothing is missing it returns at once and says nothing; nothing that is installed is ever moved to another version;
whatever goes wrong, the WebUI starts, and both its console and the FaceChain tab say what to do. Standard library only.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPORT = Path(__file__).resolve().parent / "install-report.json"
"""What the last installation came to; the FaceChain tab reads it (facechain_ext/hosts/a1111/missing.py)."""
SCHEMA = 1
PIP_TIMEOUT_S = 900
CHECK_TIMEOUT_S = 180
PUBLIC_VERSION = re.compile(r"[0-9][0-9a-z.!_-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """Something FaceChain imports that the WebUI does not bring."""

    module: str
    requirement: str
    known_as: tuple[str, ...]
    """Distributions that bring the module; any of them will do, one that somebody chose is never replaced."""
    alone: bool = True
    """Installed without its dependencies: the WebUI has those that matter, in versions it insists on."""


PACKAGES = (
    Package(
        "onnxruntime",
        "onnxruntime>=1.17,<1.27",
        ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-silicon", "onnxruntime-training"),
    ),
    # The newest whose protobuf files the WebUI's protobuf 3.20 still reads.
    Package("onnx", "onnx==1.17.0", ("onnx",)),
    # Its albumentations would bring pydantic 2, with which gradio 3 does not start.
    Package("insightface", "insightface==2.1", ("insightface",)),
    # From 4.12 on it brings numpy 2.
    Package(
        "cv2",
        "opencv-python-headless<4.12",
        ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
        alone=False,
    ),
    # The newest that imports beside the WebUI's transformers 4.30.2 and accelerate 0.21.0.
    Package("peft", "peft==0.13.2", ("peft",)),
)


def main() -> None:
    """Make everything importable, or say what is not; never raises."""
    try:
        missing = [package for package in PACKAGES if not present(package)]
        if not missing and known_good():
            return
        if missing and (skipped := why_skipped()):
            names = ", ".join(package.requirement for package in missing)
            say(f"not installing {names}, because of {skipped}. FaceChain needs them.")
            return
        set_up(missing)
    except Exception as error:  # the WebUI must start whatever happens here
        say(f"the installation stopped ({type(error).__name__}: {error}). The WebUI starts without FaceChain.")


def set_up(missing: list[Package]) -> None:
    """Install ``missing``, see whether everything imports, print and store the outcome."""
    began = time.monotonic()
    before = installed()
    problems = install(missing, before) if missing else []
    importlib.invalidate_caches()
    for name, (old, new) in moved(before, installed()).items():
        problems.append(f"WARNING: {name} changed from {old} to {new}; to undo: {pip_line([f'{name}=={old}'])}")
    failed = import_errors()
    problems += [f"{module} cannot be imported: {said}" for module, said in failed.items()]
    repair = repair_line([package for package in PACKAGES if package.module in failed])
    store(not failed, problems, repair)
    if failed:
        say("NOT READY. The WebUI starts as always; the FaceChain tab will say the same.")
    elif missing:
        say(f"ready, installed {', '.join(package.requirement for package in missing)} ({time.monotonic() - began:.0f} s)")
    for problem in problems:
        say(problem)
    if failed:
        say(f"To repair: {repair}")


def present(package: Package) -> bool:
    """True when one of the package's distributions, or the module itself, is there."""
    return any(version_of(name) for name in package.known_as) or importlib.util.find_spec(package.module) is not None


def version_of(name: str) -> str | None:
    """The version of an installed distribution, None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def why_skipped() -> str:
    """What the user set against installing, empty when nothing."""
    if os.environ.get("FACECHAIN_SKIP_INSTALL", "") not in ("", "0"):
        return "FACECHAIN_SKIP_INSTALL"
    return "--skip-install" if "--skip-install" in os.environ.get("COMMANDLINE_ARGS", "").split() else ""


def install(missing: list[Package], before: dict[str, str]) -> list[str]:
    """One pip call for each of ``missing``; return a sentence for each that failed."""
    handle, path = tempfile.mkstemp(prefix="facechain-constraints-", suffix=".txt")
    problems = []
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(constraints(before)) + "\n")
        for package in missing:
            said = run_pip([*options(package), "-c", path, package.requirement])
            if said is not None:
                problems.append(f"pip could not install {package.requirement}: {said}")
    finally:
        os.unlink(path)
    return problems


def constraints(before: dict[str, str]) -> list[str]:
    """Everything installed, pinned to its version: pip then fails instead of moving something."""
    lines = []
    for name, version in sorted(before.items()):
        public, _, local = version.partition("+")
        if name != "pip" and PUBLIC_VERSION.fullmatch(public):
            # A local version such as 2.1.2+cu121 is on no index; pip takes it for itself only when told so literally.
            lines.append(f"{name}{'===' if local else '=='}{version}")
    return lines


def options(package: Package) -> list[str]:
    """How pip installs ``package``: from wheels only, since a compiler is rarely there."""
    alone = ["--no-deps"] if package.alone else []
    index = ["--index-url", os.environ["INDEX_URL"]] if os.environ.get("INDEX_URL") else []
    return ["--prefer-binary", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", *alone, *index]


def run_pip(arguments: list[str]) -> str | None:
    """Run ``pip install``; return None, or pip's last words when it failed."""
    command = [sys.executable, "-m", "pip", "install", *arguments]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=PIP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end after {PIP_TIMEOUT_S // 60} minutes"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return " ".join((errors or lines or [f"exit status {done.returncode}"])[-2:])


def installed() -> dict[str, str]:
    """Name -> version of every distribution, names in lower case with hyphens."""
    found = {}
    for distribution in importlib.metadata.distributions():
        # A half-removed distribution has a folder and no name.
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def moved(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Distributions whose version changed or that are gone: name -> (before, after)."""
    return {name: (old, after.get(name, "nothing")) for name, old in before.items() if after.get(name) != old}


def import_errors() -> dict[str, str]:
    """Import every module in a process of its own; module -> what went wrong."""
    modules = [package.module for package in PACKAGES]
    program = (
        # -c puts the folder it runs in first, where anybody's json.py may lie.
        "import sys\nsys.path[:] = [place for place in sys.path if place]\n"
        "import importlib, json\nfailed = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except BaseException as error:\n        failed[name] = f'{type(error).__name__}: {error}'.splitlines()[0]\n"
        "print('\\n' + json.dumps(failed))\n"
    )
    # Not from the WebUI's folder, whose own packages would hide what is missing.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *modules],
            capture_output=True,
            env=environment,
            cwd=tempfile.gettempdir(),
            stdin=subprocess.DEVNULL,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
        return dict(json.loads(done.stdout.decode("utf-8", "replace").strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return dict.fromkeys(modules, f"no answer within {CHECK_TIMEOUT_S} s")
    except (OSError, ValueError, IndexError) as error:
        return {module: f"the check itself failed ({type(error).__name__})" for module in modules}


def repair_line(packages: list[Package]) -> str:
    """Commands to copy and paste, empty when there is nothing to repair."""
    alone = [package.requirement for package in packages if package.alone]
    # Another OpenCV may be there with its files overwritten; only a forced installation mends that.
    others = [package.requirement for package in packages if not package.alone]
    lines = [pip_line(["--no-deps", *alone])] if alone else []
    lines += [pip_line(["--no-deps", "--force-reinstall", *others])] if others else []
    return " && ".join(lines)


def pip_line(arguments: list[str]) -> str:
    """A pip command as one types it."""
    words = [sys.executable, "-m", "pip", "install", *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def key() -> str:
    """What the outcome depends on: this Python and the versions of what the imports touch."""
    names = sorted(
        {name for package in PACKAGES for name in package.known_as} | {"transformers", "accelerate", "protobuf", "numpy", "torch"}
    )
    versions = [f"{name} {version}" for name in names if (version := version_of(name))]
    return " ".join([sys.version.split()[0], sys.prefix, *versions])


def known_good() -> bool:
    """True when exactly these versions have been seen to import."""
    try:
        report = json.loads(REPORT.read_text(encoding="utf-8"))
        return bool(report["schema"] == SCHEMA and report["ready"] and report["key"] == key())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def store(ready: bool, problems: list[str], repair: str) -> None:
    """Write the outcome for the tab and the next start."""
    report = {"schema": SCHEMA, "ready": ready, "key": key(), "problems": problems, "repair": repair}
    try:
        REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError:  # an extension folder that cannot be written to: the console has said it all
        return


def say(words: str) -> None:
    """One line on the WebUI's console."""
    print(f"[FaceChain] {words}", flush=True)


if __name__ == "__main__":
    main()
