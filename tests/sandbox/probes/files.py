"""Reading and writing what is none of the child's business."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from pathlib import Path
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


def checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def read(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, 10)
    os.close(descriptor)


def reading(template: str) -> Any:
    return lambda facts: read(template.format(**facts))


def relative(facts: dict[str, Any]) -> None:
    """Out of a folder that may be read, by a path that climbs."""
    folder = os.open(facts["library"], os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.close(os.open("../" * 20 + "etc/passwd", os.O_RDONLY, dir_fd=folder))
    finally:
        os.close(folder)


def inherited(facts: dict[str, Any]) -> None:
    """By a descriptor that the parent holds open and inheritable."""
    os.close(os.open("secret", os.O_RDONLY, dir_fd=facts["descriptor"]))


def descriptors(facts: dict[str, Any]) -> str:
    found = []
    for number in range(1024):
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
            found.append(number)
        except OSError:
            continue
    return f"{len(found)} open"


def opening(flags: int, template: str) -> Any:
    return lambda facts: os.close(os.open(template.format(**facts), flags, 0o600))


def mapped_for_writing(facts: dict[str, Any]) -> None:
    """A file that is open for reading, mapped shared and writable."""
    descriptor = os.open(facts["allowed"], os.O_RDONLY)
    try:
        mmap.mmap(descriptor, 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()
    finally:
        os.close(descriptor)


def c_call(name: str, *arguments: Any) -> Any:
    def attempt(facts: dict[str, Any]) -> None:
        values = [each.format(**facts).encode() if isinstance(each, str) else each for each in arguments]
        checked(getattr(libc, name)(*values))

    return attempt


def allowed(facts: dict[str, Any]) -> str:
    return Path(facts["allowed"]).read_text()


ATTEMPTS = {
    "read its input": allowed,
    "read /etc/passwd": reading("/etc/passwd"),
    "read a home": reading("{home}/token"),
    "read another target's staging": reading("{staging}/secret"),
    "read through a symbolic link": reading("{link}"),
    "read below a linked folder": reading("{linked}/secret"),
    "read beside its input": reading("{beside}"),
    "read by a climbing path": relative,
    "read by the root link of /proc": reading(str(Path("/proc", "self", "root", "etc", "passwd"))),
    "read by an inherited descriptor": inherited,
    "read the parent's environment": reading("/proc/{parent}/environ"),
    "read the parent's memory": reading("/proc/{parent}/mem"),
    "read the parent's map": reading("/proc/{parent}/maps"),
    "read the parent's command": reading("/proc/{parent}/cmdline"),
    "read the parent's descriptor": reading("/proc/{parent}/fd/0"),
    "read the parent's folder": reading("/proc/{parent}/cwd"),
    "read its own environment": reading("/proc/self/environ"),
    "read the kernel's log": reading("/dev/kmsg"),
    "list the root": lambda facts: [*Path("/").iterdir()] and None,
    "list processes": lambda facts: [*Path("/proc").iterdir()] and None,
    "list the staging": lambda facts: [*Path(facts["stage"]).iterdir()] and None,
    "open as a path alone": opening(os.O_PATH, "/etc/passwd"),
    "descriptors that are open": descriptors,
    "write its input": opening(os.O_WRONLY, "{allowed}"),
    "read and write its input": opening(os.O_RDWR, "{allowed}"),
    "append to its input": opening(os.O_WRONLY | os.O_APPEND, "{allowed}"),
    "truncate while reading": opening(os.O_RDONLY | os.O_TRUNC, "{allowed}"),
    "make a file": opening(os.O_WRONLY | os.O_CREAT, "{open}/new"),
    "make a file in /tmp": opening(os.O_WRONLY | os.O_CREAT, "/tmp/qgate-probe-new"),
    "make a file in /dev/shm": opening(os.O_WRONLY | os.O_CREAT, "/dev/shm/qgate-probe-new"),
    "make a nameless file": opening(os.O_WRONLY | os.O_TMPFILE, "{open}"),
    "make a file in memory": lambda facts: os.close(os.memfd_create("x")),
    "map its input for writing": mapped_for_writing,
    "write the parent's memory": opening(os.O_WRONLY, "/proc/{parent}/mem"),
    "truncate": lambda facts: os.truncate(facts["own"], 0),
    "rename": lambda facts: Path(facts["own"]).rename(facts["own"] + "2") and None,
    "remove": lambda facts: Path(facts["own"]).unlink(),
    "link": lambda facts: os.link(facts["allowed"], facts["open"] + "/linked"),
    "link symbolically": lambda facts: Path(facts["open"], "symbolic").symlink_to("/"),
    "make a folder": lambda facts: Path(facts["open"], "folder").mkdir(),
    "remove a folder": lambda facts: Path(facts["open"]).rmdir(),
    "make a pipe in a folder": lambda facts: os.mkfifo(facts["open"] + "/pipe"),
    "change a mode": lambda facts: Path(facts["own"]).chmod(0o777),
    "change an owner": lambda facts: os.chown(facts["own"], os.getuid(), -1),
    "change times": lambda facts: os.utime(facts["own"]),
    "set an attribute": lambda facts: os.setxattr(facts["own"], "user.x", b"1"),
    "make a message queue": c_call("msgget", 0, 0o1600),
    "make shared memory": c_call("shmget", 0, 4096, 0o1600),
    "watch files": c_call("inotify_init1", 0),
    "change its folder": lambda facts: os.chdir("/tmp"),
}
