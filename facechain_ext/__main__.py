"""``python -m facechain_ext`` is the ``facechain`` command."""

from facechain_ext.cli.main import run

if __name__ == "__main__":
    run()
