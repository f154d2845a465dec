# Two commands: `make demo` (photos in, LoRA trained, ranked portraits out) and `make test` (everything CI runs).
# Both set up all they need in .venv; PYTHON chooses the interpreter.

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
PIP_FLAGS := --quiet --disable-pip-version-check --prefer-binary
BIN := .venv/bin

.PHONY: demo test lint setup gradio-venvs chromium bench-likeness bench-blend clean

demo: setup
	$(BIN)/python -m facechain_ext --workspace demo/workspace demo --out demo

# How alike people become whom the embedded checkpoint has never seen; half an hour on 2 cores.
bench-likeness: setup
	$(BIN)/python -m facechain_ext --workspace demo/workspace bench likeness --no-photos --out benchmarks/likeness

bench-blend: setup
	$(BIN)/python -m facechain_ext --workspace demo/workspace bench blend --images 8 --seed 9000 --out benchmarks/blend

test: setup lint gradio-venvs chromium
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/pyright

setup: .venv/.ready

.venv/.ready: requirements/torch.txt requirements/standalone.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "FaceChain needs Python 3.10, 3.11 or 3.12: install one, or run make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP_FLAGS) -r requirements/torch.txt
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps -r requirements/standalone.txt
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation -e .
	@touch $@

# The pages must also build under the gradio of A1111 and reForge (3.41.2) and of Forge (4.40.0).
gradio-venvs: .venv-gradio3/.ready .venv-gradio4/.ready

# The first one also runs the extension on a stand-in for A1111 (tests/webui), so it has torch and what else the WebUI has.
.venv-gradio3/.ready: requirements/gradio3.txt requirements/torch.txt requirements/a1111.txt
	$(PYTHON) -m venv .venv-gradio3
	.venv-gradio3/bin/python -m pip install $(PIP_FLAGS) --no-deps -r requirements/gradio3.txt
	.venv-gradio3/bin/python -m pip install $(PIP_FLAGS) -r requirements/torch.txt
	.venv-gradio3/bin/python -m pip install $(PIP_FLAGS) --no-deps -r requirements/a1111.txt
	@touch $@

.venv-gradio%/.ready: requirements/gradio%.txt
	$(PYTHON) -m venv .venv-gradio$*
	.venv-gradio$*/bin/python -m pip install $(PIP_FLAGS) --no-deps -r requirements/gradio$*.txt
	@touch $@

# The browser tests drive Debian's Chromium.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

clean:
	rm -rf .venv .venv-gradio3 .venv-gradio4 demo build *.egg-info .pytest_cache .ruff_cache
