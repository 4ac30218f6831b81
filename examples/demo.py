"""Shows the gate on a real pair: an honest int8 model passes, the same with one flipped bit does not.

Exits 0 only if both came out as they must, and the second for the weight that was changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DIGITS = HERE / "digits"
REPORTS = Path("qgate-demo")


def say(text: str) -> None:
    """Prints a heading at once, so that it stays above what the gate prints."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def verify(candidate: Path, report: Path) -> int:
    """Runs the gate on a candidate and returns its exit code."""
    command = [str(Path(sys.executable).parent / "qgate"), "verify"]
    command += ["--reference", str(DIGITS / "digits_fp32.onnx"), "--candidate", str(candidate)]
    command += ["--inputs", str(DIGITS / "digits_test.npz"), "--labels", "label", "--report", str(report)]
    return subprocess.run(command, check=False).returncode


def corrupt(destination: Path) -> tuple[str, list[int]]:
    """Writes the corrupted model and returns the weight and the index that were changed."""
    sys.path.insert(0, str(HERE))
    import onnx
    from corrupt import flip

    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    name, index, before, after = flip(model, element=-1000, bit=4)
    onnx.save(model, destination)
    print(f"{name}{list(index)} was {before} and is now {after}: one bit of one weight")
    return name, list(index)


def names_it(report: Path, tensor: str, index: list[int]) -> bool:
    """Whether an error of the report points at that very element; a report that is missing does not."""
    if not (report / "report.json").is_file():
        return False
    targets = json.loads((report / "report.json").read_bytes())["targets"]
    places = [
        finding["at"]
        for target in targets
        for finding in target["findings"]
        if finding["severity"] == "error"
    ]
    return any(place.get("tensor") == tensor and place.get("index") == index for place in places)


def main() -> int:
    """Runs both halves."""
    REPORTS.mkdir(exist_ok=True)
    say("1. A real int8 model, quantized from its float32 reference")
    honest = verify(DIGITS / "digits_int8_pc.onnx", REPORTS / "honest")
    say("2. The same model with one bit flipped")
    tensor, index = corrupt(REPORTS / "corrupted.onnx")
    broken = verify(REPORTS / "corrupted.onnx", REPORTS / "corrupted")
    named = broken == 1 and names_it(REPORTS / "corrupted", tensor, index)
    say("Reports")
    for part in ("honest", "corrupted"):
        written = (REPORTS / part / name for name in ("report.html", "summary.md", "report.json"))
        print("  " + "  ".join(map(str, written)))
    if honest == 0 and broken == 1 and named:
        say("The honest model passed; the corrupted one was blocked at the weight that was changed.")
        return 0
    print(f"unexpected: honest ended with {honest}, corrupted with {broken}, named: {named}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
