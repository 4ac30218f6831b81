"""Other processes, signals to them, privileges and limits."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import resource
import signal
import struct
import subprocess
import threading
from typing import Any

from files import checked, libc

ARM = platform.machine() == "aarch64"
CLONE = 220 if ARM else 56
CLONE3 = 435
TKILL, TGKILL = (130, 131) if ARM else (200, 234)
SIGQUEUE, TGSIGQUEUE = (138, 240) if ARM else (129, 297)
PRLIMIT = 261 if ARM else 302
SETOWN, SETSIG, GETOWN_EX = 8, 10, 16
FIOSETOWN, TIOCSTI = 0x8901, 0x5412
libc.syscall.restype = ctypes.c_long


def call(number: int, *arguments: Any) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *words))


def fork(facts: dict[str, Any]) -> None:
    if os.fork() == 0:
        os._exit(0)


def process_by_clone(flags: int) -> Any:
    def attempt(facts: dict[str, Any]) -> None:
        pid = call(CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)

    return attempt


def process_by_clone3(facts: dict[str, Any]) -> None:
    described = ctypes.create_string_buffer(struct.pack("=8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    if call(CLONE3, described, 64) == 0:
        os._exit(0)


def thread(facts: dict[str, Any]) -> str:
    seen = []
    runner = threading.Thread(target=lambda: seen.append(1))
    runner.start()
    runner.join()
    return f"{len(seen)} ran"


def thread_is_confined(facts: dict[str, Any]) -> str:
    seen: list[str] = []

    def look() -> None:
        for path in ("/etc/passwd", facts["home"] + "/token"):
            try:
                os.close(os.open(path, os.O_RDONLY))
                seen.append(path)
            except OSError:
                continue

    runner = threading.Thread(target=look)
    runner.start()
    runner.join()
    return f"{len(seen)} read"


def own_signal(facts: dict[str, Any]) -> str:
    seen = []
    signal.signal(signal.SIGUSR2, lambda *_: seen.append(1))
    signal.raise_signal(signal.SIGUSR2)
    return f"{len(seen)} taken"


def queued(number: int) -> Any:
    def attempt(facts: dict[str, Any]) -> None:
        described = ctypes.create_string_buffer(struct.pack("=iii", signal.SIGUSR1, 0, -1), 128)
        target = (facts["parent"],) if number == SIGQUEUE else (facts["parent"], facts["parent"])
        call(number, *target, int(signal.SIGUSR1), described)

    return attempt


def owned_descriptor(facts: dict[str, Any]) -> None:
    """A descriptor whose readiness would be signalled to the parent."""
    fcntl.fcntl(1, SETOWN, facts["parent"])
    fcntl.fcntl(1, SETSIG, int(signal.SIGUSR1))


def raise_limits(facts: dict[str, Any]) -> None:
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        _, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (hard, hard))
        except ValueError as error:  # what Python makes of EPERM
            raise PermissionError(1, "refused") from error


def limits_of(facts: dict[str, Any]) -> str:
    kinds = ("AS", "CPU", "FSIZE", "NOFILE", "CORE", "MSGQUEUE", "NPROC")
    return " ".join(f"{kind}={resource.getrlimit(getattr(resource, 'RLIMIT_' + kind))[1]}" for kind in kinds)


def parents_limit(facts: dict[str, Any]) -> None:
    new = ctypes.create_string_buffer(struct.pack("=QQ", 0, 0))
    call(PRLIMIT, facts["parent"], resource.RLIMIT_CORE, new, None)


def asks_for(flag: int) -> Any:
    def attempt(facts: dict[str, Any]) -> None:
        checked(libc.prctl(flag, 0, 0, 0, 0))

    return attempt


def machine_code(facts: dict[str, Any]) -> str:
    """``getpid`` of the 32-bit interface, which has other numbers: only machine code can make it."""
    if ARM:
        return "no such interface"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return str(function() >= 0)


def sweep(facts: dict[str, Any]) -> str:
    """Every call of the range but the named ones, with arguments of zero; those that were not refused."""
    through = []
    for number in range(facts["until"]):
        if number in facts["skip"]:
            continue
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(0),) * 6)
        if result != -1 or ctypes.get_errno() not in (1, 38):
            through.append(number)
    return f"through: {through}"


ATTEMPTS = {
    "fork": fork,
    "fork as a thread group of its own": process_by_clone(0x100 | 0x200 | 0x400 | 0x800),
    "fork sharing memory": process_by_clone(0x4000 | 0x100),
    "fork into a user namespace": process_by_clone(0x10000000),
    "fork by clone3": process_by_clone3,
    "start a program": lambda facts: subprocess.run(["/bin/true"], check=True) and None,
    "spawn a program": lambda facts: os.posix_spawn("/bin/true", ["true"], {}) and None,
    "a thread": thread,
    "a thread is confined": thread_is_confined,
    "a signal to itself": own_signal,
    "signal the parent": lambda facts: os.kill(facts["parent"], signal.SIGUSR1),
    "ask whether the parent lives": lambda facts: os.kill(facts["parent"], 0),
    "signal everybody": lambda facts: os.kill(-1, 0),
    "signal the parent's group": lambda facts: os.killpg(facts["group"], 0),
    "signal a thread of the parent": lambda facts: (
        call(TGKILL, facts["parent"], facts["parent"], 10) and None
    ),
    "signal any thread": lambda facts: call(TKILL, facts["parent"], 10) and None,
    "queue a signal": queued(SIGQUEUE),
    "queue a signal to a thread": queued(TGSIGQUEUE),
    "signal by a descriptor's owner": owned_descriptor,
    "signal by ioctl": lambda facts: fcntl.ioctl(1, FIOSETOWN, struct.pack("=i", facts["parent"])) and None,
    "type into a terminal": lambda facts: fcntl.ioctl(0, TIOCSTI, b"x") and None,
    "a session of its own": lambda facts: os.setsid() and None,
    "a group of its own": lambda facts: os.setpgid(0, 0),
    "become root": lambda facts: os.setresuid(0, 0, 0),
    "become a group": lambda facts: os.setgid(0),
    "take groups": lambda facts: os.setgroups([0]),
    "stay when the parent dies": asks_for(1),
    "be dumpable": asks_for(4),
    "raise limits": raise_limits,
    "the parent's limits": parents_limit,
    "limits": limits_of,
    "slow the parent": lambda facts: os.setpriority(os.PRIO_PROCESS, facts["parent"], 19),
    "move the parent": lambda facts: os.sched_setaffinity(facts["parent"], {0}),
    "keep its processors": lambda facts: f"{len(os.sched_getaffinity(0)) > 0}",
    "the 32-bit interface": machine_code,
    "every other call": sweep,
    "a fatal call": lambda facts: str(libc.syscall(ctypes.c_long(facts["number"]), *(ctypes.c_long(0),) * 6)),
}
