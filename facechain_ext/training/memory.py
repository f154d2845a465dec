"""How torch says that memory ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

WORDS = ("can't allocate memory", "not enough memory", "MPS backend out of memory")
"""Of the CPU's allocator (c10/core/impl/alloc_cpu.cpp), on Windows, and of Apple's GPU."""


@contextmanager
def allocator_errors() -> Iterator[None]:
    """Turn the plain RuntimeErrors of torch's CPU and MPS allocators into MemoryError; CUDA's has a class of its own."""
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in WORDS):
            raise MemoryError(str(error)) from error
        raise
