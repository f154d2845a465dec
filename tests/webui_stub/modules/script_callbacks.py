"""Callbacks of extensions; what they raise is only reported (modules/script_callbacks.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from modules import errors

NAMES = ("app_started", "ui_settings", "ui_tabs", "before_ui", "infotext_pasted", "model_loaded", "script_unloaded", "cfg_denoiser")
callback_map: dict[str, list[Callable[..., Any]]] = {name: [] for name in NAMES}


def clear_callbacks() -> None:
    for registered in callback_map.values():
        registered.clear()


def called(name: str, *args: Any) -> list[Any]:
    found = []
    for callback in list(callback_map[name]):
        try:
            found += callback(*args) or []
        except Exception:
            errors.report(f"Error executing callback {name}", exc_info=True)
    return found


searched: list[str] = []
"""Frames for which ``add_callback`` would have gone through all loaded modules, 0.1 s and more for each callback."""


def _adder(name: str) -> Callable[[Callable[..., Any]], None]:
    def add(callback: Callable[..., Any]) -> None:
        # The host asks ``inspect.stack()`` who calls; what is in no file, the frames of the running import, it looks for everywhere.
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen"):
                searched.append(f"on_{name} below {frame.f_code.co_name}")
            frame = frame.f_back
        callback_map[name].append(callback)

    return add


on_app_started = _adder("app_started")
on_ui_settings = _adder("ui_settings")
on_ui_tabs = _adder("ui_tabs")
on_before_ui = _adder("before_ui")
on_infotext_pasted = _adder("infotext_pasted")
on_model_loaded = _adder("model_loaded")
on_script_unloaded = _adder("script_unloaded")
on_cfg_denoiser = _adder("cfg_denoiser")


def remove_callbacks_for_function(callback: Callable[..., Any]) -> None:
    for registered in callback_map.values():
        registered[:] = [one for one in registered if one != callback]
