"""What a harness is: one parser, fed with any bytes, from which nothing but a QgateError may come."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from qgate.errors import QgateError

SECONDS = 10.0
CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Harness:
    """One parser under test.

    Args:
        name: Its name, and its folder's below ``corpus``.
        target: Feeds bytes to the parser, and asserts what must hold of the outcome.
        seeds: Honest and hostile inputs to begin with, written when they are needed.
        runs: Inputs of the short run, chosen so that it takes about a second.
        length: Bytes of the longest input.
    """

    name: str
    target: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    runs: int
    length: int

    def __call__(self, data: bytes) -> None:
        """One input; a refusal is the parser's right, anything else that is raised is a defect."""
        began = time.process_time()
        try:
            self.target(data)
        except QgateError as refusal:
            assert refusal.what, "a refusal that says nothing"
            assert "\n" not in refusal.what, "a refusal on several lines"
        took = time.process_time() - began
        assert took < SECONDS, f"{took:.1f} s for {len(data)} bytes"

    def inputs(self) -> list[bytes]:
        """The committed corpus and the seeds, without repetitions."""
        folder = CORPUS / self.name
        stored = [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
        return list(dict.fromkeys([*stored, *(seed for seed in self.seeds() if len(seed) <= self.length)]))


HARNESSES: dict[str, Harness] = {}
Target = Callable[[bytes], None]


def harness(
    seeds: Callable[[], Iterable[bytes]], *, runs: int = 400, length: int = 4096
) -> Callable[[Target], Target]:
    """Adds the decorated function under its own name."""

    def keep(target: Target) -> Target:
        name = target.__name__.replace("_", "-")
        HARNESSES[name] = Harness(name, target, seeds, runs, length)
        return target

    return keep


_numbers = itertools.count()
_folders: dict[int, Path] = {}


def as_file(data: bytes, name: str = "model") -> Path:
    """A new file each time, for readers map them into memory; the one before is gone from the folder."""
    folder = _folders.get(os.getpid())
    if folder is None:
        folder = _folders[os.getpid()] = Path(tempfile.mkdtemp(prefix="fuzz-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for old in folder.iterdir():
        old.unlink()
    path = folder / f"{next(_numbers)}-{name}"
    path.write_bytes(data)
    return path
