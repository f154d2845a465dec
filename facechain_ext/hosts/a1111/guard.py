"""The WebUI's API password for routes that are not its own."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence
from secrets import compare_digest
from typing import Any

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from modules import shared


def password() -> Sequence[Any]:
    """What routes depend on: --api-auth guards only those that modules/api/api.py adds itself."""
    if not shared.cmd_opts.api_auth:
        return ()
    known = dict(pair.strip().split(":", 1) for pair in shared.cmd_opts.api_auth.split(","))

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008 - fastapi's way
        wanted = known.get(given.username)
        if wanted is None or not compare_digest(given.password.encode(), wanted.encode()):
            raise HTTPException(status_code=401, detail="Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    return (Depends(check),)
