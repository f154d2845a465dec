"""The HTTP API ``/facechain/v1``: the same use cases as the page and the command line."""
