"""Which system calls the child may make once it is confined, with their numbers.

A list of what is allowed, not of what is forbidden: a kernel's new calls are then refused until somebody has
thought about them. The list holds what Python, numpy and ONNX Runtime use to read files, run threads, wait and
handle memory, with the older and newer variants of each, so that it does not depend on the C library's version.

Calls that take a flag or a command are allowed for what a run needs of them. Three answers are given to the rest:

- ``FATAL``: no library makes these by mistake in the middle of a run; the process is killed, and the report
  says so.
- ``ABSENT``: "no such call", because C libraries then fall back to an older call whose arguments can be seen
  here. Calls that are newer than this list get the same answer.
- all others: "not permitted". No sockets, no processes, no signals to others, no file that is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

X86_64 = "x86_64"
AARCH64 = "aarch64"

HIGHEST = 462
"""The newest call that this list was made with (``mseal``); later numbers are the same on all machines."""

# name: (x86_64, aarch64); -1 where a machine has no such call. From the kernel's own tables.
_READING = {
    "read": (0, 63), "pread64": (17, 67), "readv": (19, 65), "preadv": (295, 69), "preadv2": (327, 286),
    "lseek": (8, 62), "close": (3, 57), "close_range": (436, 436), "dup": (32, 23), "fadvise64": (221, 223),
    "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291), "stat": (4, -1), "lstat": (6, -1),
    "access": (21, -1), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, -1),
    "readlinkat": (267, 78), "getcwd": (79, 17), "getdents64": (217, 61),
}  # fmt: skip
_WRITING_TO_WHAT_IS_OPEN = {"write": (1, 64), "writev": (20, 66)}
_MEMORY = {
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214),
}  # fmt: skip
_THREADS = {
    "futex": (202, 98), "futex_waitv": (449, 449), "set_robust_list": (273, 99), "rseq": (334, 293),
    "set_tid_address": (218, 96), "membarrier": (324, 283), "exit": (60, 93), "exit_group": (231, 94),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126), "getcpu": (309, 168),
}  # fmt: skip
_WAITING = {
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "poll": (7, -1), "ppoll": (271, 73),
    "select": (23, -1), "pselect6": (270, 72),
}  # fmt: skip
_ASKING = {
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, -1),
    "times": (100, 153), "getrusage": (98, 165), "getrlimit": (97, 163), "getpid": (39, 172),
    "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "uname": (63, 160), "sysinfo": (99, 179),
    "getrandom": (318, 278),
}  # fmt: skip
ALLOWED = {**_READING, **_WRITING_TO_WHAT_IS_OPEN, **_MEMORY, **_THREADS, **_WAITING, **_ASKING}

CONDITIONAL = {
    "open": (2, -1), "openat": (257, 56), "ioctl": (16, 29), "fcntl": (72, 25), "prctl": (157, 167),
    "arch_prctl": (158, -1), "clone": (56, 220), "tgkill": (234, 131), "prlimit64": (302, 261),
}  # fmt: skip

FATAL = {
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "unshare": (272, 97), "setns": (308, 268), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
}  # fmt: skip

ABSENT = {"clone3": (435, 435), "openat2": (437, 437)}


@dataclass(frozen=True)
class Masked:
    """An argument of 32 bits whose bits under ``mask`` must be ``wanted``."""

    argument: int
    mask: int
    wanted: int


@dataclass(frozen=True)
class OneOf:
    """An argument of 32 bits that must be one of the values."""

    argument: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Null:
    """A pointer that must be none."""

    argument: int


Condition = Masked | OneOf | Null

# O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND, O_ASYNC, O_PATH and __O_TMPFILE: the same on both machines.
_WRITES = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000 | 0o10000000 | 0o20000000
# CLONE_VM, _FS, _FILES, _SIGHAND and _THREAD: what makes it a thread and no process.
_THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000
# CLONE_PIDFD, _PTRACE, _VFORK, _PARENT, _UNTRACED and every CLONE_NEW...
_NO_THREAD = 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x800000 | 0x7E020000
_TCGETS, _FIONCLEX, _FIOCLEX = 0x5401, 0x5450, 0x5451
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. F_SETOWN would send signals to others.
_FCNTL = (0, 1, 2, 3, 4, 1030)
# PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_SVE_GET_VL, PR_SET_VMA
_PRCTL = (15, 16, 21, 39, 51, 0x53564D41)
# ARCH_GET_XCOMP_SUPP, ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM: a kernel with AMX must ask for its registers.
_ARCH_PRCTL = (0x1021, 0x1022, 0x1023)


def conditions(pid: int | None = None) -> dict[str, tuple[Condition, ...]]:
    """What must hold of each call in ``CONDITIONAL``.

    Args:
        pid: The process that may signal its own threads; this one by default.
    """
    own = os.getpid() if pid is None else pid
    return {
        "open": (Masked(1, _WRITES, 0),),
        "openat": (Masked(2, _WRITES, 0),),
        "ioctl": (OneOf(1, (_TCGETS, _FIONCLEX, _FIOCLEX)),),
        "fcntl": (OneOf(1, _FCNTL),),
        "prctl": (OneOf(0, _PRCTL),),
        "arch_prctl": (OneOf(0, _ARCH_PRCTL),),
        "clone": (Masked(0, _THREAD | _NO_THREAD, _THREAD),),
        "tgkill": (OneOf(0, (own,)),),
        "prlimit64": (OneOf(0, (0, own)), Null(2)),
    }
