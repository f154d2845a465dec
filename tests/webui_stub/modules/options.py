"""Settings (modules/options.py). ``data`` holds only what config.json holds: keys never set are not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class OptionInfo:
    def __init__(
        self, default: Any = None, label: str = "", component: Any = None, component_args: Any = None, onchange: Any = None, **rest: Any
    ):
        self.default, self.label, self.component, self.component_args = default, label, component, component_args
        self.onchange: Callable[[], None] | None = onchange
        self.section = rest.get("section") or (None, "Other")
        self.comment_after, self.infotext, self.do_not_save = "", rest.get("infotext"), False

    def info(self, text: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({text})</span>"
        return self

    def needs_restart(self) -> OptionInfo:
        return self.info("requires restart")

    def needs_reload_ui(self) -> OptionInfo:
        return self.info("requires Reload UI")


class Options:
    def __init__(self, data_labels: dict[str, OptionInfo]) -> None:
        self.__dict__.update(data_labels=data_labels, data={})

    def __setattr__(self, key: str, value: Any) -> None:
        if key in ("data", "data_labels"):
            self.__dict__[key] = value
        elif key in self.data or key in self.data_labels:
            self.data[key] = value
        else:
            self.__dict__[key] = value

    def __getattr__(self, key: str) -> Any:
        if key in self.data:
            return self.data[key]
        if key in self.data_labels:
            return self.data_labels[key].default
        raise AttributeError(key)

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        if self.data.get(key) == value:
            return False
        option = self.data_labels[key]
        # Stored first: whoever reads options meanwhile sees it before ``onchange`` has waited for the queue (modules/options.py:159).
        setattr(self, key, value)
        if run_callbacks and option.onchange is not None:
            option.onchange()
        return True

    def get_default(self, key: str) -> Any:
        return self.data_labels[key].default

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def load(self, filename: str | Path) -> None:
        self.data = json.loads(Path(filename).read_text(encoding="utf-8"))
