"""The direction of imports, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "facechain_ext"
FOUNDATION = {"config", "progress", "errors", "workspace", "blend"}
ALLOWED = {
    "errors": set(),
    "blend": {"errors"},
    "config": {"errors", "blend"},
    "progress": {"errors"},
    "workspace": {"errors"},
    "faces": FOUNDATION | {"ports"},
    "styles": FOUNDATION,
    "lora": FOUNDATION | {"ports"},
    "ports": FOUNDATION | {"faces"},
    "training": FOUNDATION | {"ports", "lora", "faces"},
    "portraits": FOUNDATION | {"ports", "faces", "lora", "styles"},
    "services": FOUNDATION | {"ports", "training", "portraits", "lora", "faces", "styles"},
    "api": FOUNDATION | {"services", "styles", "faces"},
    "ui": FOUNDATION | {"services", "styles", "faces", "ports"},
    "vision": FOUNDATION | {"ports", "faces"},
    "hosts": FOUNDATION | {"ports", "services", "lora", "faces", "styles", "training", "portraits", "ui"},
    "cli": FOUNDATION | {"services", "hosts", "vision", "ui", "api", "ports", "faces", "portraits", "styles"},
    "__main__": {"cli"},
    "__init__": set(),
}
"""What each room may import from its own package beside itself. ``faces`` and ``lora`` use the ports' types; ports the faces' types."""
ROOTS = {f"hosts/a1111/{name}.py" for name in ("extension", "wiring", "script", "guard", "missing", "axes", "sending", "panel", "sitting")}
"""The WebUI's composition root: it wires hosts, models, pages and API, as ``cli/`` does for the standalone program."""
ALLOWED["roots"] = set(ALLOWED)
FOREIGN = {
    "diffusers": {"hosts"},
    "transformers": {"hosts"},
    "modules": {"hosts"},
    "backend": {"hosts"},
    "modules_forge": {"hosts"},
    "gradio": {"ui"},
    "fastapi": {"api"},
    "typer": {"cli"},
    "rich": {"cli"},
    "insightface": {"vision"},
    "onnxruntime": {"vision"},
    "peft": {"lora"},
    "torch": {"hosts", "training", "lora", "ports"},
    "safetensors": {"hosts", "training", "lora"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    """``faces/geometry.py`` -> ``faces``; ``errors.py`` -> ``errors``; the WebUI's composition root -> ``roots``."""
    if file.relative_to(PACKAGE).as_posix() in ROOTS:
        return "roots"
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """Every module named in an import statement, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the direction"
            found.add(node.module or "")
            if node.module == "facechain_ext":
                found.update(f"facechain_ext.{alias.name}" for alias in node.names if alias.name != "__version__")
    return found


def test_every_room_is_known():
    assert {room(f) for f in FILES} <= set(ALLOWED)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_down(file):
    here = room(file)
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "facechain_ext":
            wanted = parts[1] if len(parts) > 1 else "__init__"
            assert wanted in {here, "__init__", *ALLOWED[here]}, f"{here} imports {name}"
        elif parts[0] in FOREIGN:
            assert here in FOREIGN[parts[0]] | {"roots"}, f"{here} imports {name}"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


BLOCK = """
import importlib, pathlib, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if any(name == b or name.startswith(b + ".") for b in BLOCKED):
            raise ModuleNotFoundError(f"{name} is taken away by the test", name=name)

sys.meta_path.insert(0, Block())
root = pathlib.Path("facechain_ext")
for file in sorted(root.rglob("*.py")):
    if file.relative_to(root).parts[0] in ROOMS:
        importlib.import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
"""


def test_the_core_stands_without_hosts_pages_and_models():
    blocked = ["hosts", "ui", "api", "cli", "vision"]
    code = f"BLOCKED = {[f'facechain_ext.{b}' for b in blocked] + ['gradio', 'diffusers', 'insightface', 'typer']}\nROOMS = "
    core = ["errors.py", "blend.py", "config.py", "progress.py", "workspace.py", "ports.py"]
    result = python(code + f"{[*core, 'faces', 'lora', 'training', 'styles', 'portraits', 'services']}" + BLOCK)
    assert result.returncode == 0, result.stderr


def test_the_pages_build_without_torch():
    result = python("BLOCKED = ['torch', 'diffusers', 'peft', 'insightface']\nROOMS = ['ui']" + BLOCK)
    assert result.returncode == 0, result.stderr


def test_importing_has_no_effects():
    """Nothing is printed, written or loaded that the command line does not need to show its help."""
    code = "import sys, facechain_ext.cli.main; print(sorted({'torch', 'diffusers', 'gradio', 'cv2', 'insightface', 'peft'} & set(sys.modules)))"
    result = python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
    assert result.stderr == ""
