"""``facechain``: the command line. One module per group of commands."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from facechain_ext import __version__
from facechain_ext.cli import bench, blend, generate, people, prepare, serve, styles, system, train
from facechain_ext.cli.context import OPTIONS
from facechain_ext.errors import FaceChainError

app = typer.Typer(
    name="facechain",
    help="Photos of a person in, a face LoRA trained, ranked portraits out. Photos never leave this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("prepare")(prepare.prepare)
app.command("train")(train.train)
app.command("generate")(generate.generate)
app.add_typer(people.app, name="people")
app.add_typer(styles.app, name="styles")
app.add_typer(system.models_app, name="models")
app.add_typer(blend.app, name="blend")
app.add_typer(bench.app, name="bench")
app.command("doctor")(system.doctor)
app.command("app")(serve.serve)
app.command("demo")(generate.demo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", envvar="FACECHAIN_HOME", help="Folder for everything FaceChain keeps.", show_default=False),
    ] = None,
    pack: Annotated[str | None, typer.Option(help="Face model pack to use.", show_default="yunet_sface, shipped")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of every command."""
    OPTIONS.workspace, OPTIONS.debug, OPTIONS.pack = workspace, debug, pack
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("facechain_ext").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        # Libraries warn on their own channels, about choices that are ours; what a person can act on, our own errors say.
        warnings.simplefilter("ignore")


def run() -> None:
    """Run the command line: exit code 0 is well, 2 the user's mistake, 1 ours, 130 cancelled."""
    # The models this needs are shipped; without these, libraries would try their hubs first.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    # Waiting threads that spin make torch up to 30 times slower as soon as another program is busy; read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # On Intel's processors MKL's sums with several threads depend on the run otherwise: a resumed training and a portrait made again
    # would be others in the last bits.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    for stream in (sys.stdout, sys.stderr):
        # A console in another code page must not end the program over a person's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except FaceChainError as error:
        if OPTIONS.debug:
            raise
        typer.echo(f"{error}", err=True)
        sys.exit(error.exit_code)
    except MemoryError:
        typer.echo("The computer's memory ran out. Close other programs, or use a smaller checkpoint or resolution.", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        sys.exit(130)
    except Exception as error:  # the command line is an entry point: people get a sentence
        if OPTIONS.debug:
            raise
        typer.echo(f"Something unexpected went wrong ({type(error).__name__}: {error}). Run again with --debug for details.", err=True)
        sys.exit(1)
