"""What the gate costs over merely running both models: time and peak memory, as ratios.

``python bench/overhead.py [--runs N] [--samples N]``. For each model the floor is a process that loads both
models with ONNX Runtime and runs them on the same inputs in the same batches and nothing else; the gate is a whole
``qgate verify`` in a process of its own, start and imports included on both sides. The two take turns; the medians
are compared.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# name, reference, candidate, input name, shape of one sample
MODELS = (
    ("digits", "digits/digits_fp32.onnx", "digits/digits_int8_pc.onnx", "image", (1, 8, 8)),
    ("crepe_tiny", "crepe_tiny/ref.onnx", "crepe_tiny/ort_qdq_pc.onnx", "frames", (1024,)),
    ("ppocr_cls", "ppocr_cls/ref.onnx", "ppocr_cls/ort_qdq_pc.onnx", "x", (3, 48, 192)),
)
FLOOR = """
import sys, numpy as np, onnxruntime as ort
data, batch = np.load(sys.argv[3]), int(sys.argv[4])
options = ort.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", "1")
options.log_severity_level = 3
sessions = [ort.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in sys.argv[1:3]]
arrays = {k: data[k] for k in data.files}
count = len(next(iter(arrays.values())))
for session in sessions:
    for start in range(0, count, batch):
        session.run(None, {k: v[start : start + batch] for k, v in arrays.items()})
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, and peak resident memory in MiB of the largest process it started."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{command[:3]} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, max(usage.ru_maxrss, 0) / 1024


def main() -> int:
    """Prints one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args()
    print(
        f"{'model':<12}{'floor s':>9}{'gate s':>9}{'ratio':>7}{'floor MiB':>11}{'gate MiB':>10}{'ratio':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, reference, candidate, key, shape in MODELS:
            data = Path(folder) / f"{name}.npz"
            values = np.random.default_rng(0).standard_normal((options.samples, *shape), dtype=np.float32)
            np.savez(data, **{key: values})
            models = [str(EXAMPLES / reference), str(EXAMPLES / candidate)]
            floor = [sys.executable, "-c", FLOOR, *models, str(data), "32"]
            gate = [
                sys.executable,
                "-m",
                "qgate.cli",
                "verify",
                "-r",
                models[0],
                "-c",
                models[1],
                "-i",
                str(data),
            ]
            rounds = [(timed(floor), timed(gate)) for _ in range(options.runs)]
            f, g = ([statistics.median(r[side][k] for r in rounds) for k in (0, 1)] for side in (0, 1))
            print(
                f"{name:<12}{f[0]:>9.2f}{g[0]:>9.2f}{g[0] / f[0]:>7.2f}{f[1]:>11.0f}{g[1]:>10.0f}{g[1] / f[1]:>7.2f}"
            )
    print(
        f"{options.samples} samples, medians of {options.runs} alternating runs on {os.cpu_count()} processors"
    )
    return 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise SystemExit(main())
