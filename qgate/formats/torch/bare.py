"""Pickles that are no checkpoint: not read, but looked at, so that a reviewer sees what loading them would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.elements import Mapped
from qgate.formats.torch.machine import Machine
from qgate.formats.torch.values import RefusedError, Storage


class _NoStore:
    def resolve(self, name: Any) -> Storage:
        raise RefusedError("it refers to something outside of itself")


def refuse_pickle(path: Path) -> CodeError:
    """The refusal of a pickle that is no checkpoint of PyTorch's, with the first thing in it that is not data."""
    machine = Machine(Mapped(path).view, path.name, _NoStore())
    try:
        machine.run()
        why = "loading a pickle can run whatever it names"
    except FormatError as error:
        why = error.what
    return CodeError(f"a Python pickle that is no checkpoint: {why}", where=path.name, kind="pickle")
