"""Callbacks of extensions; what they raise is only reported (modules/script_callbacks.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import errors

NAMES = ("app_started", "ui_settings", "ui_tabs", "before_ui", "infotext_pasted", "model_loaded", "script_unloaded")
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


on_app_started = callback_map["app_started"].append
on_ui_settings = callback_map["ui_settings"].append
on_ui_tabs = callback_map["ui_tabs"].append
on_before_ui = callback_map["before_ui"].append
on_infotext_pasted = callback_map["infotext_pasted"].append
on_model_loaded = callback_map["model_loaded"].append
on_script_unloaded = callback_map["script_unloaded"].append
