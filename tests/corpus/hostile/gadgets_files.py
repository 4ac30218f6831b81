"""Functions that need no code to do harm: they create, overwrite, link or fetch a file of the attacker's choice."""

from __future__ import annotations

from tests.corpus.hostile.case import Target
from tests.corpus.hostile.gadgets import Value, method
from tests.corpus.hostile.opcodes import Call, Global, call


def path(t: Target) -> Call:
    """The canary as a pathlib path."""
    return call("pathlib:PosixPath", t.canary)


FILES: dict[str, Value] = {
    "builtins-open": lambda t: call("builtins:open", t.canary, "w"),
    "io-open": lambda t: call("io:open", t.canary, "w"),
    "io-fileio": lambda t: call("io:FileIO", t.canary, "w"),
    "codecs-open": lambda t: call("codecs:open", t.canary, "w"),
    "os-open": lambda t: call("os:open", t.canary, 0o101),
    "os-mkdir": lambda t: call("os:mkdir", t.canary),
    "os-makedirs": lambda t: call("os:makedirs", t.canary),
    "os-symlink": lambda t: call("os:symlink", "/nowhere", t.canary),
    "os-mkfifo": lambda t: call("os:mkfifo", t.canary),
    "pathlib-touch": lambda t: call("pathlib:Path.touch", path(t)),
    "pathlib-write": lambda t: method(path(t), "write_text", "x"),
    "shutil-copyfile": lambda t: call("shutil:copyfile", "/etc/hostname", t.canary),
    "shutil-copytree": lambda t: call("shutil:copytree", str(t.folder), t.canary),
    "tempfile-named": lambda t: call("tempfile:mkstemp", "", t.canary, "/"),
    "logging-filehandler": lambda t: call("logging:FileHandler", t.canary),
    "logging-basicconfig": lambda t: call("logging.handlers:RotatingFileHandler", t.canary),
    "gzip-open": lambda t: call("gzip:open", t.canary, "wb"),
    "bz2-open": lambda t: call("bz2:BZ2File", t.canary, "wb"),
    "lzma-open": lambda t: call("lzma:open", t.canary, "wb"),
    "zipfile-write": lambda t: call("zipfile:ZipFile", t.canary, "w"),
    "tarfile-write": lambda t: call("tarfile:open", t.canary, "w"),
    "shelve-dumb": lambda t: call("dbm.dumb:open", t.canary, "c"),
    "sqlite-connect": lambda t: method(call("sqlite3:connect", t.canary), "execute", "create table a(b)"),
    "urllib-retrieve": lambda t: call("urllib.request:urlretrieve", "file:///etc/hostname", t.canary),
    "wave-open": lambda t: call("wave:open", t.canary, "wb"),
    "xml-write": lambda t: method(
        call("xml.etree.ElementTree:ElementTree", call("xml.etree.ElementTree:Element", "a")),
        "write",
        t.canary,
    ),
    "numpy-memmap": lambda t: call("numpy:memmap", t.canary, "uint8", "w+", 0, (1,)),
    "numpy-save": lambda t: call("numpy:save", t.canary, 1),
    "numpy-savetxt": lambda t: call("numpy:savetxt", t.canary, [1.0]),
    "numpy-tofile": lambda t: method(call("numpy:zeros", 1), "tofile", t.canary),
    "numpy-open-memmap": lambda t: call("numpy.lib.format:open_memmap", t.canary, "w+", "u1", (1,)),
    "torch-save": lambda t: call("torch:save", 1, t.canary),
    "torch-from-file": lambda t: call("torch:from_file", t.canary, True, 1),
    "torch-untyped-from-file": lambda t: call("torch:UntypedStorage.from_file", t.canary, True, 1),
    "torch-hub-download": lambda t: call("torch.hub:download_url_to_file", "file:///etc/hostname", t.canary),
    "torch-jit-save": lambda t: method(call("torch:PyTorchFileWriter", t.canary), "write_end_of_file"),
    "networkx-write": lambda t: call("networkx:write_adjlist", call("networkx:path_graph", 2), t.canary),
    "onnx-save": lambda t: call("onnx:save", call("onnx:ModelProto"), t.canary),
    "os-environ-preload": lambda t: [
        call("os:putenv", "LD_PRELOAD", t.canary),
        call("builtins:open", t.canary, "x"),
    ],
    "builtins-print": lambda t: Call(call("functools:partial", Global("builtins", "open"), t.canary), ("w",)),
}
"""By name: a call that leaves something at the canary's path."""
