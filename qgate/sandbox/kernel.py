"""The few ``prctl`` calls that Python does not offer."""

from __future__ import annotations

import ctypes
import os

_SET_PDEATHSIG = 1
_GET_DUMPABLE = 3
_SET_DUMPABLE = 4
_SET_NO_NEW_PRIVS = 38


def set_dumpable(allowed: bool) -> None:
    """Whether processes of the same user may read this one's memory and environment."""
    _prctl(_SET_DUMPABLE, int(allowed))


def dumpable() -> bool:
    """Whether they may now."""
    return _prctl(_GET_DUMPABLE, 0) == 1


def die_with_parent(signal_number: int) -> None:
    """Asks for a signal when the thread that started this process ends."""
    _prctl(_SET_PDEATHSIG, signal_number)


def forbid_new_privileges() -> None:
    """No later ``execve`` gains privileges, whatever the file's bits."""
    _prctl(_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    result: int = library.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
    return result
