"""Memory of networks that are gone."""

import ctypes


def give_back_freed_memory() -> bool:
    """Return to the system what was freed; False where the C library has no way to.

    Each session frees its memory in pieces between those of others, which glibc keeps: without this a service whose
    deployments change grows to two and a half times its size.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
