"""Writes the hostile corpus: ``python -m tests.corpus.hostile.build OUT [--prove]``.

OUT receives a folder a case and ``manifest.json``; ``--prove`` then loads each case as a careless user would
and notes whether the payload ran. OUT is dangerous to load by hand, though a payload only creates an empty file
below OUT/canaries.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.corpus.hostile import catalogue

ROOT = Path(__file__).resolve().parents[3]
Row = dict[str, Any]


def write(out: Path, *, only: str = "") -> list[Row]:
    """Writes every case, or those of one family; the manifest's rows."""
    canaries = out / "canaries"
    canaries.mkdir(parents=True)
    canaries.chmod(0o777)  # a sandboxed child of another user could write there, were it let
    rows = []
    for name, made in sorted(catalogue.CASES.items()):
        if only in ("", made.family):
            home = canaries / name
            home.mkdir()
            home.chmod(0o777)
            canary = home / "canary"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch says of TorchScript is no concern here
                file = made.write(out, str(canary))
            rows.append({
                "name": name, "family": made.family, "technique": made.technique, "loader": made.loader,
                "role": made.role, "file": str(file.relative_to(out)), "canary": str(canary.relative_to(out)),
            })  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def prove(out: Path, rows: list[Row]) -> dict[str, bool]:
    """Which payloads run where the file is loaded naively; the canaries are gone again afterwards."""
    listed = [
        (row["name"], row["loader"], str(out / row["file"]), str(out / row["canary"]))
        for row in rows
        if row["loader"]
    ]
    order = out / "naive.json"
    order.write_text(json.dumps(listed))
    line = [sys.executable, "-W", "ignore", "-m", "tests.corpus.hostile.naive", str(order)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True, timeout=1200)
    clear(out)
    return json.loads(done.stdout.splitlines()[-1])


def canaries(out: Path) -> list[str]:
    """The cases whose payload ran: something lies in their canary's folder."""
    return sorted(home.name for home in (out / "canaries").iterdir() if any(home.iterdir()))


def clear(out: Path) -> None:
    """Removes every canary, of whatever kind."""
    for name in canaries(out):
        for path in (out / "canaries" / name).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prove", action="store_true")
    parser.add_argument("--only", default="", help="one family")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    rows = write(out, only=arguments.only)
    print(f"{len(rows)} cases in {out}")
    if arguments.prove:
        alive = prove(out, rows)
        print(f"{sum(alive.values())} of {len(alive)} payloads run where they are loaded naively")
        print("silent:", ", ".join(name for name, ran in alive.items() if not ran) or "none")


if __name__ == "__main__":
    main()
