"""Loads cases as a careless user would, each in a process of its own, and says whose payload ran.

``python -m tests.corpus.hostile.naive LIST``: LIST is JSON, rows of (name, loader, file, canary). Prints a JSON
object: for each name whether the canary was there afterwards. This is the proof that the corpus is alive;
nothing else in the repository executes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

SECONDS = 20


def load(loader: str, path: str) -> None:
    """What users write."""
    if loader == "pickle":
        import pickle

        with Path(path).open("rb") as file:
            pickle.load(file)
        return
    if loader == "numpy":
        import numpy as np

        held = np.load(path, allow_pickle=True)
        _ = held if isinstance(held, np.ndarray) else [held[name] for name in held]
        return
    import torch

    if loader == "torch":
        torch.load(path, weights_only=False)
    elif loader == "torch-export":
        import torch.export

        torch.export.load(path)
    elif loader == "torch-jit":
        torch.jit.load(path)
    elif loader == "torch-library":
        torch.ops.load_library(path)
    else:
        raise ValueError(loader)


def alive(loader: str, path: str, canary: str) -> bool:
    """Loads in a fork that is killed when its time is over; whether the canary is there then."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.setsid()
            os.chdir(Path(path).parent)
            quiet = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(quiet, descriptor)
            load(loader, path)
        os._exit(0)
    end = time.monotonic() + SECONDS
    home = Path(canary).parent
    while time.monotonic() < end and not any(home.iterdir()) and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)
    return any(home.iterdir())


def needs_torch(loader: str, path: Path) -> bool:
    """Whether loading will import torch or a library that comes with it."""
    return loader.startswith("torch") or any(name in path.read_bytes() for name in (b"torch", b"sympy"))


def main() -> None:
    """Reads the list, prints the outcomes."""
    rows = json.loads(Path(sys.argv[1]).read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A process that has imported torch forks slowly, so those that need it come last.
        heavy = [row for row in rows if needs_torch(row[1], Path(row[2]))]
        found = {row[0]: alive(*row[1:]) for row in rows if row not in heavy}
        if heavy:
            import torch.export  # noqa: F401 - once here, not in every fork
        found |= {row[0]: alive(*row[1:]) for row in heavy}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
