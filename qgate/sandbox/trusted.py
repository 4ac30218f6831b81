"""Where the interpreter and its libraries lie: what a confined process may still read beside its inputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def library_folders() -> list[Path]:
    """The standard library and every package that is imported by now, where this user may read them.

    Libraries import parts of themselves late. Of the folder that holds the packages only these are named,
    and nothing that a package of another name could be imported from.
    """
    import _ctypes

    found: dict[Path, None] = {Path(os.__file__).parent: None, Path(str(_ctypes.__file__)).parent: None}
    for name, module in list(sys.modules.items()):
        if "." not in name:
            found.update((Path(folder), None) for folder in getattr(module, "__path__", ()))
    return [folder for folder in found if os.access(folder, os.R_OK | os.X_OK)]
