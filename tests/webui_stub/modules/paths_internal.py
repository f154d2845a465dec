"""Where things are; the tests choose the data folder (the host's ``--data-dir``)."""

import os
from pathlib import Path

script_path = str(Path(__file__).parents[1])
data_path = os.environ["WEBUI_STUB_DATA"]
models_path = os.path.join(data_path, "models")
extensions_dir = os.path.join(data_path, "extensions")
