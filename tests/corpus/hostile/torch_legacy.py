"""Checkpoints in torch's older formats: five pickles in a row, and a tar archive."""

from __future__ import annotations

import io
import tarfile
from functools import partial

from tests.corpus.hostile.case import hostile
from tests.corpus.hostile.gadgets import nested
from tests.corpus.hostile.opcodes import call, stream
from tests.corpus.hostile.torch_bytes import legacy, tar

old = partial(hostile, "torch-legacy", "model.pt", loader="torch")
silent = partial(hostile, "torch-legacy", "model.pt")


@old()
def in_magic(t):
    """the payload runs before the magic number"""
    return legacy(head=call("os:system", t.shell))


@old()
def in_system_info(t):
    """the payload stands in the third pickle"""
    return legacy(info=call("os:system", t.shell))


@old()
def in_state(t):
    """the payload stands beside the weights"""
    return legacy(call("os:system", t.shell))


@old()
def in_keys(t):
    """the payload stands in the last pickle, behind the weights"""
    return legacy(keys=call("os:system", t.shell))


@old()
def wrong_magic(t):
    """the payload runs, then the magic number is wrong"""
    return legacy(head=call("os:system", t.shell), magic=1)


@old()
def no_magic(t):
    """a bare pickle under a checkpoint's name"""
    return nested(t)


@old()
def truncated(t):
    """the payload runs, then the storages are missing"""
    return legacy(call("os:system", t.shell))[:-30]


@silent()
def truncated_clean(t):
    """no payload; the storages end early"""
    return legacy()[:-4]


@silent()
def appended(t):
    """a sixth pickle behind the storages"""
    return legacy() + nested(t)


@silent()
def long_storage(t):
    """a storage that declares 2^62 elements"""
    data = bytearray(legacy())
    data[-32:-24] = (2**62).to_bytes(8, "little")
    return bytes(data)


@old()
def in_tar(t):
    """the tar format: the payload is the pickle of the state"""
    return tar(call("os:system", t.shell))


@silent()
def tar_link(t):
    """a tar archive with a symbolic link that leads out"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as made:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(info)
    return out.getvalue()


@silent()
def tar_device(t):
    """a tar archive with a device and a name that climbs"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as made:
        info = tarfile.TarInfo("../../pickle")
        info.type = tarfile.CHRTYPE
        made.addfile(info)
        data = stream({}, protocol=2)
        plain = tarfile.TarInfo("pickle")
        plain.size = len(data)
        made.addfile(plain, io.BytesIO(data))
    return out.getvalue()
