import importlib.util
import os


def load_module(path):
    # By path and not into sys.modules: the module's name is its file's (modules/script_loading.py:11).
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
