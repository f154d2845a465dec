"""Keeps glibc from handing every large buffer back to the kernel between two training steps."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_heap() -> bool:
    """Serve blocks up to 1 GiB from the heap and never trim it; True where the C library took it.

    oneDNN reorders convolution weights on every call (59 MB for SD1.5's widest); by mmap that is 14,401 page faults
    each time, half of the operator's time. For the standalone process only: a host's allocator is not ours to set.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
