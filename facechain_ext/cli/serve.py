"""``facechain app``: the standalone page."""

from __future__ import annotations

import contextlib
import socket
import threading
import webbrowser
from typing import Annotated

import typer

from facechain_ext.cli.context import make_studio
from facechain_ext.cli.output import Output
from facechain_ext.errors import UserInputError

FIRST_PORT, LAST_PORT = 7865, 7965


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; the default is reachable from this machine only.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7865 on when not given.", show_default=False)] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    api: Annotated[bool, typer.Option("--api", help="Serve the HTTP API /facechain/v1 too; it asks for no password.")] = False,
) -> None:
    """Open the FaceChain page: train, generate, manage people."""
    from facechain_ext.ui.page import build_page

    output = Output(as_json=False)
    studio = make_studio(output)
    chosen = free_port(host, port)
    page = build_page(studio)
    # The gallery shows files from the workspace, which gradio serves only when told so.
    app, _, _ = page.queue().launch(
        server_name=host,
        server_port=chosen,
        prevent_thread_lock=True,
        quiet=True,
        show_api=False,
        share=False,
        allowed_paths=[str(studio.workspace.root)],
    )
    if api:
        from facechain_ext.api.routes import PREFIX, install_routes

        install_routes(app, lambda: studio)
    url = f"http://{'localhost' if host in ('0.0.0.0', '127.0.0.1') else host}:{chosen}/"
    output.say(f"FaceChain is at {url} (Ctrl-C ends it)")
    if api:
        output.say(f"The API is at {url.rstrip('/')}{PREFIX}/ (openapi.json there lists it)")
    if browser:
        webbrowser.open(url)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    for job in studio.jobs.jobs():
        job.token.stop()
    page.close()


def free_port(host: str, port: int | None) -> int:
    """``port`` when it is free, else the first free one of our range.

    Raises:
        UserInputError: when it is taken, or the address is not this machine's.
    """
    for candidate in [port] if port is not None else range(FIRST_PORT, LAST_PORT):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except (OSError, OverflowError):
                continue
            return candidate
    raise UserInputError(
        f"The page cannot be served at {host}:{port or FIRST_PORT}: it is taken or not this machine's. Choose another --port or --host."
    )
