"""The filter of system calls: ``syscalls`` as a program that the kernel runs before each call.

Classic BPF, see ``seccomp(2)`` and the kernel's ``userspace-api/seccomp_filter``. The program sees the machine,
the call's number and its arguments as values; what a pointer leads to it cannot see.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from qgate.sandbox import syscalls
from qgate.sandbox.kernel import system_call
from qgate.sandbox.syscalls import Condition, Masked, OneOf

_MACHINES = {syscalls.X86_64: (0xC000003E, 317), syscalls.AARCH64: (0xC00000B7, 277)}
"""By machine: ``AUDIT_ARCH_...`` and the number of ``seccomp`` itself."""

_SET_MODE_FILTER = 1
_ALL_THREADS = 1
_X32 = 0x40000000

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000
REFUSE = _ERRNO | errno.EPERM
UNKNOWN = _ERRNO | errno.ENOSYS

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _AT_LEAST, _ABOVE = 0x15, 0x35, 0x25
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""Operation, how many to skip where a comparison holds, how many where it does not, operand."""


def machine() -> str:
    """This machine as ``syscalls`` names it.

    Raises:
        OSError: There is no list for it (``ENOSYS``).
    """
    found = os.uname().machine.lower()
    name = {"amd64": syscalls.X86_64, "arm64": syscalls.AARCH64}.get(found, found)
    if name not in _MACHINES or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"there is no list of system calls for {found}")
    return name


def program(name: str, pid: int) -> list[Instruction]:
    """The filter for a machine and a process: what its calls are answered with."""
    column = (syscalls.X86_64, syscalls.AARCH64).index(name)
    found: list[Instruction] = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, _MACHINES[name][0]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, KILL),
    ]
    for calls, answer in ((syscalls.ALLOWED, ALLOW), (syscalls.FATAL, KILL), (syscalls.ABSENT, UNKNOWN)):
        for numbers in calls.values():
            if numbers[column] >= 0:
                found += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, answer)]
    wanted = syscalls.conditions(pid)
    for call, numbers in syscalls.CONDITIONAL.items():
        if numbers[column] >= 0:
            body = [step for each in wanted[call] for step in _check(each)]
            body.append((_RETURN, 0, 0, ALLOW))
            found += [(_EQUAL, 0, len(body), numbers[column]), *body]
    return [
        *found,
        (_ABOVE, 0, 1, syscalls.HIGHEST),
        (_RETURN, 0, 0, UNKNOWN),
        (_RETURN, 0, 0, REFUSE),
    ]


def _check(condition: Condition) -> Iterator[Instruction]:
    """Goes on where the condition holds, and refuses where it does not."""
    place = _ARGUMENTS + 8 * condition.argument
    # Both machines are little-endian: the lower half of an argument comes first.
    yield (_LOAD, 0, 0, place)
    if isinstance(condition, OneOf):
        last = len(condition.values)
        for number, value in enumerate(condition.values, 1):
            yield (_EQUAL, last - number + 1, 0, value)
    elif isinstance(condition, Masked):
        yield (_AND, 0, 0, condition.mask)
        yield (_EQUAL, 1, 0, condition.wanted)
    else:
        yield (_EQUAL, 0, 2, 0)
        yield (_LOAD, 0, 0, place + 4)
        yield (_EQUAL, 1, 0, 0)
    yield (_RETURN, 0, 0, REFUSE)


def filter_calls() -> None:
    """Puts the filter in force for every thread of this process, for ever. After ``no_new_privs``.

    Raises:
        OSError: The kernel refuses, or there is no list for this machine.
    """
    name = machine()
    raw = b"".join(struct.pack("=HBBI", *step) for step in program(name, os.getpid()))
    instructions = ctypes.create_string_buffer(raw, len(raw))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    described = Program(len(raw) // 8, ctypes.addressof(instructions))
    number = _MACHINES[name][1]
    if system_call("seccomp", number, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(described)):
        raise OSError(0, "a thread of this process has a filter of its own")
    _prove()


def _prove() -> None:
    """A kernel that takes the filter and does not run it is worse than one that has none."""
    try:
        os.kill(os.getpid(), 0)
    except PermissionError:
        return
    raise OSError(0, "the filter of system calls was engaged and refuses nothing")
