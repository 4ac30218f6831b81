"""A shared library of a few hundred bytes whose initialiser creates the canary; x86-64, no compiler needed."""

from __future__ import annotations

import struct

_HEADER = 64 + 2 * 56
_DYNAMIC_ENTRY = 16


def shared_library(canary: str) -> bytes:
    """An ELF file with one segment: code, path, empty symbol table and the dynamic section.

    The code is ``open(path, O_CREAT | O_WRONLY, 0666)`` as a system call, and return.
    """
    path = canary.encode() + b"\0"
    code_at = _HEADER
    path_at = code_at + 32
    after = (path_at + len(path) + 15) // 16 * 16
    symbols, strings, hashes = after, after + 24, after + 32
    dynamic = after + 64
    distance = path_at - (code_at + 7)  # from the end of the first instruction
    code = b"\x48\x8d\x3d" + struct.pack("<i", distance)  # lea rdi, [rip + distance]
    code += b"\xbe\x41\0\0\0\xba\xb6\x01\0\0\xb8\x02\0\0\0\x0f\x05\xc3"  # esi, edx, eax; syscall; ret
    entries = [(4, hashes), (5, strings), (6, symbols), (10, 1), (11, 24), (12, code_at), (0, 0)]
    size = dynamic + _DYNAMIC_ENTRY * len(entries)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0, size, size, 4096)
    length = _DYNAMIC_ENTRY * len(entries)
    table = struct.pack("<IIQQQQQQ", 2, 6, dynamic, dynamic, dynamic, length, length, 8)
    body = code.ljust(path_at - code_at, b"\0") + path.ljust(after - path_at, b"\0")
    body += bytes(24) + bytes(8) + struct.pack("<IIII", 1, 1, 0, 0) + bytes(16)
    body += b"".join(struct.pack("<QQ", *entry) for entry in entries)
    return header + load + table + body
