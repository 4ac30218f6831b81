"""Starts a program on a kernel that lacks something: ``python -I kernel.py LACK[,LACK] COMMAND...``

A filter of system calls, put in force before the program starts, answers in the kernel's stead. The program cannot
tell it from a kernel without the call, and its children inherit it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

X86 = os.uname().machine == "x86_64"
ARCHITECTURE = 0xC000003E if X86 else 0xC00000B7
SECCOMP, PRCTL = (317, 157) if X86 else (277, 167)
SETRESUID, CAPSET, SETRLIMIT = (117, 126, 160) if X86 else (147, 91, 164)
RESTRICT = 446
EPERM, ENOSYS, EOPNOTSUPP = 1, 38, 95
NOTHING = 0
"""An error number of none: the call succeeds and does nothing."""

LACKS = {
    "landlock": [(444, ENOSYS), (445, ENOSYS), (446, ENOSYS)],
    "landlock-switched-off": [(444, EOPNOTSUPP)],
    "landlock-refused": [(RESTRICT, EPERM)],
    "landlock-that-lies": [(RESTRICT, NOTHING)],
    "seccomp": [(SECCOMP, ENOSYS)],
    "seccomp-refused": [(SECCOMP, EPERM)],
    "seccomp-that-lies": [(SECCOMP, NOTHING)],
    "user": [(SETRESUID, EPERM)],
    "capabilities": [(CAPSET, EPERM)],
    "none": [],
}


def instructions(answers: list[tuple[int, int]]) -> bytes:
    """Loads the machine and the number; each listed call gets its answer, all others pass."""
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, ARCHITECTURE), (0x06, 0, 0, 0x7FFF0000), (0x20, 0, 0, 0)]
    for number, answer in answers:
        steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | answer)]
    steps.append((0x06, 0, 0, 0x7FFF0000))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def become(lacks: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    raw = instructions([answer for lack in lacks for answer in LACKS[lack]])
    buffer = ctypes.create_string_buffer(raw, len(raw))
    program = struct.pack("=HxxxxxxQ", len(raw) // 8, ctypes.addressof(buffer))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel of this test takes no filter")


if __name__ == "__main__":
    become(sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
