"""The few system calls that Python does not offer."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

_SET_PDEATHSIG = 1
_GET_DUMPABLE = 3
_SET_DUMPABLE = 4
_SET_NO_NEW_PRIVS = 38
_GET_NO_NEW_PRIVS = 39
_CAPABILITY_VERSION_3 = 0x20080522


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
    """No later ``execve`` gains privileges, whatever the file's bits.

    Raises:
        OSError: The kernel refuses, or says that it has not done so.
    """
    _prctl(_SET_NO_NEW_PRIVS, 1)
    if _prctl(_GET_NO_NEW_PRIVS, 0) != 1:
        raise OSError(0, "no_new_privs was set and is not in force")


def drop_capabilities() -> None:
    """Gives up every capability, the ambient ones included; see ``capset(2)``.

    A user who is not root can hold some where a container was started so.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked("capset", _libc().capset(header, nothing))


def system_call(name: str, number: int, *arguments: Any) -> int:
    """Calls the kernel by number.

    Args:
        name: What an error names.
        number: The call's number on this machine.
        arguments: Whole numbers and buffers of ``ctypes``.

    Raises:
        OSError: The kernel refuses.
    """
    call = _libc().syscall
    call.restype = ctypes.c_long
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(name, call(ctypes.c_long(number), *words))


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> int:
    return _checked(f"prctl({option})", _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _checked(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
