"""How long the command line takes to start, and what it imports.

``python bench/startup.py [--runs N]``: the time of ``qgate --help`` as a whole process, and whether heavy packages
are imported by it or by the verification of a pair of ONNX files.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
HEAVY = ("torch", "onnxruntime", "onnx", "numpy", "pydantic", "scipy", "rich", "github", "jinja2")
IMPORTED = """
import sys
sys.argv = ["qgate", *sys.argv[1:]]
from qgate.cli import main
try:
    main()
except SystemExit:
    pass
print("\\nIMPORTED", *[n for n in {heavy!r} if n in sys.modules], file=sys.stderr)
"""


def imported(*arguments: str) -> list[str]:
    """Heavy packages that the command's own process has imported at its end."""
    script = IMPORTED.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    return done.stderr.rpartition("IMPORTED")[2].split()


def main() -> int:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "qgate.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    print(f"qgate --help: median {statistics.median(seconds):.3f} s of {runs}, fastest {min(seconds):.3f} s")
    print(f"qgate --help imports of the heavy packages: {', '.join(imported('--help')) or 'none'}")
    pair = ("verify", "-r", str(DIGITS / "digits_fp32.onnx"), "-c", str(DIGITS / "digits_int8_pc.onnx"))
    found = imported(*pair)
    print(
        f"verifying two ONNX files imports: {', '.join(found)} (torch: {'yes' if 'torch' in found else 'never'})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
