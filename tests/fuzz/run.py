"""Runs harnesses: ``python -m tests.fuzz.run [NAME ...] [--seconds S | --short] [--engine atheris|plain]``.

atheris (libFuzzer, guided by what the parsers cover) where it is installed; else, and never silently, inputs
that hypothesis mutates from the same corpus. A failing input is written to ``build/fuzz``, and the exit
status is 1. ``--short`` makes a fixed number of runs from a fixed seed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

FAILURES = Path("build/fuzz")
SEED = 20


def has_atheris() -> bool:
    """Whether the engine is there; it has wheels for few platforms."""
    return importlib.util.find_spec("atheris") is not None


def load(engine: str) -> dict[str, Any]:
    """The harnesses; for atheris with qgate's modules instrumented while they are imported."""
    around: Any = contextlib.nullcontext()
    if engine == "atheris":
        import atheris

        around = atheris.instrument_imports(include=["qgate"])
    with around:
        from tests.fuzz import formats, texts  # noqa: F401 - they register their harnesses
        from tests.fuzz.harness import HARNESSES
    return HARNESSES


def guided(harness: Any, arguments: argparse.Namespace) -> int:
    """One harness by atheris, in a fork, for the engine ends its process; the exit status."""
    home = Path(tempfile.mkdtemp(prefix=f"fuzz-{harness.name}-"))
    folder = home / "corpus"
    folder.mkdir()
    for number, data in enumerate(harness.inputs()):
        (folder / f"seed-{number:04}").write_bytes(data)
    FAILURES.mkdir(parents=True, exist_ok=True)
    runs = harness.runs + len(list(folder.iterdir()))
    flags = [
        f"-max_len={harness.length}", "-timeout=10", "-rss_limit_mb=4096", f"-artifact_prefix={FAILURES}/{harness.name}-",
        f"-seed={SEED}", f"-verbosity={0 if arguments.short else 1}",
        f"-runs={runs}" if arguments.short else f"-max_total_time={arguments.seconds}",
    ]  # fmt: skip
    child = os.fork()
    if not child:
        import atheris

        tempfile.tempdir = str(home)  # what the harness writes goes with it
        atheris.Setup([sys.argv[0], *flags, str(folder)], harness)
        atheris.Fuzz()  # ends the process itself
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.rmtree(home)
    return status


def plain(harness: Any, arguments: argparse.Namespace) -> int:
    """One harness over its corpus and what hypothesis makes of it; the exit status."""
    from tests.fuzz.mutations import mutated

    inputs = harness.inputs()
    end = time.monotonic() + arguments.seconds
    try:
        for data in inputs:
            harness(data)
        rounds = 1 if arguments.short else sys.maxsize
        for number in range(rounds):
            mutated(harness, inputs, examples=min(harness.runs, 300), seed=SEED + number)
            if time.monotonic() > end:
                break
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def main() -> int:
    """Command line; 1 where a harness failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="harnesses; all without a name")
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    parser.add_argument("--short", action="store_true", help="a fixed number of runs")
    parser.add_argument("--engine", choices=("atheris", "plain"), help="atheris where it is installed")
    arguments = parser.parse_args()
    engine = arguments.engine or ("atheris" if has_atheris() else "plain")
    if engine == "plain":
        print("without atheris: the corpus and mutations of it, not guided by coverage", file=sys.stderr)
    harnesses = load(engine)
    failed = []
    for name in arguments.names or sorted(harnesses):
        began = time.monotonic()
        status = (guided if engine == "atheris" else plain)(harnesses[name], arguments)
        print(
            f"{'ok    ' if status == 0 else 'FAILED'} {name} ({engine}, {time.monotonic() - began:.1f} s)",
            flush=True,
        )
        failed += [name] if status else []
    if failed:
        print(f"failed: {', '.join(failed)}; the inputs are in {FAILURES}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
