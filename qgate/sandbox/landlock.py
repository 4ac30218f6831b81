"""Landlock: this process may read a list of files and folders, and nothing else of the file system.

The interface is that of the kernel's ``userspace-api/landlock``. Every right that the running kernel knows
is handled, so all that no rule grants is refused. What newer versions (ABI) of the interface add:

- 2: moving and linking between folders (before, that is refused altogether),
- 3: truncating,
- 4: binding and connecting TCP sockets,
- 5: ``ioctl`` on devices,
- 6: signals to, and abstract Unix sockets of, processes outside,
- 7: what is written to the audit log; nothing is asked of it here.

ABI 1 is enough here, because each of these is also refused by the filter of system calls (see ``syscalls``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from qgate.sandbox.kernel import system_call

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_GET_VERSION = 1
_PATH_BENEATH = 1

READ_FILE = 1 << 2
READ_DIR = 1 << 3
_FIRST = (1 << 13) - 1
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
_TCP = 0b11
_SCOPES = 0b11


def version() -> int:
    """The kernel's version of the interface.

    Raises:
        OSError: It has none (``ENOSYS``), or none that is enabled (``EOPNOTSUPP``).
    """
    return system_call("landlock", _CREATE_RULESET, None, 0, _GET_VERSION)


def handled(abi: int) -> tuple[int, int, int]:
    """Everything that a kernel of that version can refuse: file rights, network rights, scopes."""
    files = _FIRST
    files |= _REFER if abi >= 2 else 0
    files |= _TRUNCATE if abi >= 3 else 0
    files |= _IOCTL_DEV if abi >= 5 else 0
    return files, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0


def attributes(abi: int) -> bytes:
    """``struct landlock_ruleset_attr`` as long as that version knows it."""
    words = handled(abi)
    known = 1 if abi < 4 else 2 if abi < 6 else 3
    return struct.pack(f"={known}Q", *words[:known])


def restrict_files(paths: Iterable[Path]) -> int:
    """Lets this thread read the given files, and the files below the given folders, and no others.

    Nothing can be written, made, removed or executed. What is open already stays so. To be called while there
    is one thread, and after ``no_new_privs``.

    Returns:
        The version that is in force.

    Raises:
        OSError: The kernel refuses, or a path cannot be opened.
    """
    abi = version()
    described = attributes(abi)
    buffer = ctypes.create_string_buffer(described, len(described))
    rules = system_call("landlock_create_ruleset", _CREATE_RULESET, buffer, len(described), 0)
    try:
        for path in paths:
            _allow(rules, path)
        system_call("landlock_restrict_self", _RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    _prove()
    return abi


def _allow(rules: int, path: Path) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        folder = stat.S_ISDIR(os.fstat(place).st_mode)
        rights = READ_FILE | READ_DIR if folder else READ_FILE
        described = struct.pack("=Qi", rights, place)
        buffer = ctypes.create_string_buffer(described, len(described))
        system_call("landlock_add_rule", _ADD_RULE, rules, _PATH_BENEATH, buffer, 0)
    finally:
        os.close(place)


def _prove() -> None:
    """A kernel that takes the rules and does not follow them is worse than one that has none."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EACCES:
            return
        raise
    raise OSError(0, "landlock was engaged and refuses nothing")
