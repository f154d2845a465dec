"""install.py with a real pip and a real environment; the packages are tiny wheels made here, so that no index is asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = {"onnxruntime": "1.23.2", "onnx": "1.17.0", "insightface": "2.1", "peft": "0.13.2", "opencv-python-headless": "4.11.0.86"}
MODULES = {"opencv-python-headless": "cv2"}


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = (), code: str = "") -> None:
    """Write a wheel of ``name`` whose one module runs ``code`` when imported."""
    stem = f"{name.replace('-', '_')}-{version}"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    info = f"{stem}.dist-info"
    files = {
        f"{MODULES.get(name, name)}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


class Webui:
    """An environment, an index of wheels, and a copy of install.py as an extension has it."""

    def __init__(self, root: Path, environment: Path) -> None:
        self.environment, self.wheels, self.extension = environment, root / "wheels", root / "facechain"
        for folder in (self.wheels, self.extension):
            folder.mkdir()
        shutil.copy(ROOT / "install.py", self.extension)
        self.python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def pip(self, *arguments: str) -> None:
        subprocess.run([self.python, "-m", "pip", *arguments], check=True, env=self._variables({}), capture_output=True)

    def run(self, **variables: str) -> str:
        """What install.py printed; it must always end well."""
        done = subprocess.run([self.python, self.extension / "install.py"], env=self._variables(variables), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def versions(self) -> dict[str, str]:
        said = subprocess.run(
            [self.python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, env=self._variables({})
        )
        return {one["name"].lower().replace("_", "-"): one["version"] for one in json.loads(said.stdout)}

    def report(self) -> dict[str, object]:
        return json.loads((self.extension / "install-report.json").read_text())

    def _variables(self, more: Mapping[str, str]) -> dict[str, str]:
        # No settings of the machine's pip: what is not in our folder does not exist.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON")) and name != "COMMANDLINE_ARGS"}
        ours = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        return {**kept, **ours, **more}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=True)
    return folder


@pytest.fixture
def webui(tmp_path: Path, fresh: Path) -> Webui:
    """Without any of our packages; numpy and protobuf as a WebUI has them."""
    libraries = Path(sysconfig.get_path("purelib", vars={"base": str(fresh), "platbase": str(fresh)}))
    for old in libraries.iterdir():
        if not re.match(r"pip|setuptools|_distutils|distutils|pkg_resources", old.name):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    made = Webui(tmp_path, fresh)
    for name, version in (("numpy", "1.26.2"), ("protobuf", "3.20.0"), ("torch", "2.1.2+cu121")):
        wheel(made.wheels, name, version)
        made.pip("install", f"{name}=={version}")
    wheel(made.wheels, "numpy", "2.2.6")
    wheel(made.wheels, "protobuf", "7.36.2")
    return made


def offer(webui: Webui, **changed: tuple[str, ...]) -> None:
    """All our packages in good versions; ``changed`` gives what one of them requires."""
    for name, version in GOOD.items():
        wheel(webui.wheels, name, version, changed.get(name.replace("-", "_"), ()))


def test_adds_exactly_what_is_missing_then_says_nothing(webui: Webui):
    # As on the index: left to itself, pip would bring a protobuf with which the WebUI does not start.
    offer(webui, onnx=("protobuf>=4.25",), insightface=("protobuf>=4.25",))
    before = webui.versions()

    said = webui.run()

    assert webui.versions() == {**before, **GOOD}
    assert re.fullmatch(r"\[FaceChain\] ready, installed onnxruntime.*\(\d+ s\)\n", said)
    assert webui.report()["ready"] is True
    assert webui.run() == ""


def test_a_package_somebody_chose_stays(webui: Webui):
    offer(webui)
    wheel(webui.wheels, "onnxruntime-gpu", "1.18.1")
    webui.pip("install", "onnxruntime-gpu")

    webui.run()

    assert webui.versions()["onnxruntime-gpu"] == "1.18.1"
    assert "onnxruntime" not in webui.versions()


def test_what_would_move_another_package_is_not_installed(webui: Webui):
    offer(webui, opencv_python_headless=("numpy>=2",))

    said = webui.run()

    assert webui.versions()["numpy"] == "1.26.2"
    assert "opencv-python-headless" not in webui.versions()
    assert "NOT READY" in said
    assert "pip could not install opencv-python-headless<4.12" in said
    # The rest is there all the same.
    assert webui.versions()["peft"] == GOOD["peft"]


def test_a_package_that_cannot_be_imported_is_named_with_a_command_that_repairs_it(webui: Webui):
    offer(webui)
    wheel(webui.wheels, "peft", "0.21.2", code="from transformers import Cache")
    webui.pip("install", "peft==0.21.2")

    said = webui.run()

    assert "peft cannot be imported: ModuleNotFoundError: No module named 'transformers'" in said
    assert webui.versions()["peft"] == "0.21.2", "what somebody installed is never replaced unasked"
    repair = re.search(r"To repair: (.*)", said)
    assert repair
    assert webui.report()["repair"] == repair[1]
    # A broken state is looked at again at each start, a repaired one is silent.
    assert "NOT READY" in webui.run()
    subprocess.run(repair[1], shell=True, check=True, env=webui._variables({}), capture_output=True)
    assert webui.versions()["peft"] == GOOD["peft"]
    assert webui.run() == ""
    assert webui.report()["ready"] is True


@pytest.mark.parametrize("variables", [{"FACECHAIN_SKIP_INSTALL": "1"}, {"COMMANDLINE_ARGS": "--xformers --skip-install"}])
def test_skipped_when_asked(webui: Webui, variables: dict[str, str]):
    offer(webui)

    said = webui.run(**variables)

    assert said.startswith("[FaceChain] not installing onnxruntime>=1.17,<1.27, onnx==1.17.0")
    assert "peft" not in webui.versions()


def test_nothing_to_be_had(webui: Webui):
    said = webui.run()

    assert said.count("pip could not install") == len(GOOD)
    assert "NOT READY" in said
    assert webui.report()["ready"] is False


def test_an_extension_folder_that_cannot_be_written(webui: Webui):
    offer(webui)
    (webui.extension / "install-report.json").mkdir()

    assert "ready" in webui.run()


def test_nobodys_files_in_the_temporary_folder_are_run(webui: Webui, tmp_path: Path):
    common = tmp_path / "everybodys"
    common.mkdir()
    for name in ("re", "json", "peft", "importlib"):
        (common / f"{name}.py").write_text(f"open({str(tmp_path / 'hijacked')!r}, 'a').close()\nraise SystemExit(3)\n")
    offer(webui)
    said = webui.run(TMPDIR=str(common))
    assert "ready" in said, said
    assert not (tmp_path / "hijacked").exists()


def test_needs_the_standard_library_only():
    imported = set(re.findall(r"^(?:import|from) (\w+)", (ROOT / "install.py").read_text(), re.MULTILINE))

    assert imported <= sys.stdlib_module_names
