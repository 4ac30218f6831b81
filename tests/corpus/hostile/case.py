"""What a hostile case is, and the list of them all.

No case does harm: a payload creates an empty file, the *canary*, whose path is given when the case is
written. Nothing hostile is in the repository, only the code that writes it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Maker = Callable[["Target"], "bytes | None"]


@dataclass(frozen=True)
class Target:
    """Where a case is written.

    Args:
        folder: The case's own folder.
        canary: The file that a payload creates.
    """

    folder: Path
    canary: str

    @property
    def code(self) -> str:
        """Python that creates the canary."""
        return f"open({self.canary!r}, 'a').close()"

    @property
    def shell(self) -> str:
        """A shell command that does."""
        return f"touch {shlex.quote(self.canary)}"

    @property
    def argv(self) -> list[str]:
        """The same as a list of arguments."""
        return ["touch", self.canary]


@dataclass(frozen=True)
class Case:
    """One hostile container.

    Args:
        name: Unique; the folder that it is written to.
        family: pickle, torch-zip, torch-legacy, torch-code, pt2, data, onnx, safetensors, other.
        technique: What it does, a phrase.
        file: Name of the file that is handed to a tool.
        make: Returns the file's bytes, or None where it wrote them itself.
        loader: What runs the payload where a user is naive, a word of ``naive.load``;
            empty where the case holds no code that runs by loading.
        role: candidate, or data where the file is read as a data set.
    """

    name: str
    family: str
    technique: str
    file: str
    make: Maker
    loader: str = ""
    role: str = "candidate"

    def write(self, folder: Path, canary: str) -> Path:
        """Writes the case into a folder of its own below ``folder``; the path of its file."""
        home = folder / self.name
        home.mkdir(parents=True)
        made = self.make(Target(home, canary))
        if made is not None:
            (home / self.file).write_bytes(made)
        return home / self.file


CASES: dict[str, Case] = {}


def case(name: str, family: str, technique: str, file: str, make: Maker, **more: str) -> None:
    """Adds a case; names are unique."""
    if name in CASES:
        raise ValueError(f"two cases are named {name}")
    CASES[name] = Case(name, family, technique, file, make, **more)


def hostile(family: str, file: str, **more: str) -> Callable[[Maker], Maker]:
    """Adds the decorated function as a case; its docstring is the technique."""

    def keep(make: Maker) -> Maker:
        name = f"{family}-{make.__name__.strip('_').replace('_', '-')}"
        case(name, family, (make.__doc__ or "").strip().splitlines()[0], file, make, **more)
        return make

    return keep
