"""How the layers grow: with the number of samples, and with the size of a model whose weights lie beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from layers_timed import spend

GROWS = "crepe_tiny"
"""The example that a sample of is small, so that 4,096 are a short run."""

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
Pairs = Callable[[Path, str, int], list[dict[str, Any]]]
Contender = Callable[[dict[str, Any], list[str]], list[str]]


def samples(folder: Path, counts: Sequence[int], pairs: Pairs, contender: Contender) -> str:
    """Seconds and memory of the layers and of the whole gate over numbers of samples."""
    lines = [
        "| samples | layers: run s | s a sample | peak MiB | inputs MiB | `qgate verify` s | peak MiB |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for count in counts:
        pair = {**pairs(folder, GROWS, count)[0], "batch": 1}
        path = {"PYTHONPATH": str(ROOT)}
        engine = spend(contender(pair, ["engine"]), environment=path)
        line = ["verify", "-r", pair["reference"], "-c", pair["candidate"], "-i", pair["inputs"]]
        gate = spend([sys.executable, "-m", "qgate.cli", *line], accepted=(0, 1, 2), environment=path)
        if engine.failed or gate.failed:
            lines.append(f"| {count} | {engine.failed or gate.failed} | | | | | |")
            continue
        run = json.loads(engine.said)["seconds"]["run"]
        inputs = Path(pair["inputs"]).stat().st_size / (1 << 20)
        lines.append(
            f"| {count} | {run:.2f} | {run / count:.4f} | {engine.peak:.0f} | {inputs:.1f} | {gate.seconds:.2f} | "
            f"{gate.peak:.0f} |"
        )
    return "\n".join(lines)


_MADE = """
import sys, numpy as np, onnx
from onnx import TensorProto as T, helper as h
from pathlib import Path
folder, size, layers, dim = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 4096
random = np.random.default_rng(0)
def side(name, quantized):
    data = open(folder / f"{name}.bin", "wb")
    constants, nodes, before = [], [], "x"
    def held(tensor, kind, values):
        made = onnx.TensorProto(name=tensor, data_type=kind, dims=values.shape, data_location=T.EXTERNAL)
        at = data.tell(); data.write(values.tobytes())
        for key, text in (("location", f"{name}.bin"), ("offset", str(at)), ("length", str(values.nbytes))):
            made.external_data.add(key=key, value=text)
        constants.append(made)
    for layer in range(layers):
        weight = (np.random.default_rng(layer).standard_normal((dim, dim), dtype=np.float32) / 64)
        if quantized:
            scale = np.float32(np.abs(weight).max() / 127)
            codes = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
            held(f"w{layer}_q", T.INT8, codes)
            constants.append(h.make_tensor(f"w{layer}_s", T.FLOAT, [], [float(scale)]))
            constants.append(h.make_tensor(f"w{layer}_z", T.INT8, [], [0]))
            constants.append(h.make_tensor(f"a{layer}_s", T.FLOAT, [], [0.04]))
            constants.append(h.make_tensor(f"a{layer}_z", T.UINT8, [], [128]))
            nodes.append(h.make_node("QuantizeLinear", [before, f"a{layer}_s", f"a{layer}_z"], [f"q{layer}"]))
            nodes.append(h.make_node("DequantizeLinear", [f"q{layer}", f"a{layer}_s", f"a{layer}_z"], [f"d{layer}"]))
            nodes.append(h.make_node("DequantizeLinear", [f"w{layer}_q", f"w{layer}_s", f"w{layer}_z"], [f"w{layer}"]))
            before = f"d{layer}"
        else:
            held(f"w{layer}", T.FLOAT, weight)
        nodes.append(h.make_node("MatMul", [before, f"w{layer}"], [f"y{layer}"], name=f"layer{layer}"))
        before = f"y{layer}"
    value = lambda n: h.make_tensor_value_info(n, T.FLOAT, ["batch", dim])
    graph = h.make_graph(nodes, "g", [value("x")], [value(before)], constants)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9), folder / f"{name}.onnx")
    data.close()
side("reference", False); side("candidate", True)
np.savez(folder / "inputs.npz", x=random.standard_normal((8, dim), dtype=np.float32))
"""


def size(folder: Path, gib: float) -> str:
    """Peak memory of plain sessions, of the layers and of the gate on a model of random weights, in its bytes."""
    home = folder / f"big-{gib:g}"
    layers = max(1, round(gib * (1 << 30) / (4096 * 4096 * 4)))
    if not (home / "inputs.npz").exists():
        home.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", _MADE, str(home), "0", str(layers)], check=True)
    whole = sum(each.stat().st_size for each in home.glob("*.bin")) / (1 << 20)
    places = [str(home / name) for name in ("reference.onnx", "candidate.onnx", "inputs.npz")]
    run = [sys.executable, str(HERE / "peers" / "layers_run.py")]
    gate = [sys.executable, "-m", "qgate.cli", "verify", "-r", places[0], "-c", places[1], "-i", places[2]]
    commands = {
        "plain sessions (floor)": [*run, "floor", *places, "8"],
        "layers, all figures": [*run, "engine", *places, "8"],
        "`qgate verify`": gate,
    }
    lines = [
        f"A model of {layers} layers, {whole:.0f} MiB of weights in both files (float32 and int8):",
        "",
        "| what | seconds | anonymous MiB | x weights | with mapped files MiB | x weights | anonymous, the process itself | "
        "anonymous, the sandboxed one |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, command in commands.items():
        spent, anonymous, resident, first, inner = _watched(command)
        lines.append(
            f"| {name} | {spent.failed or f'{spent.seconds:.1f}'} | {anonymous:.0f} | {anonymous / whole:.2f} | "
            f"{resident:.0f} | {resident / whole:.2f} | {first:.0f} | {inner:.0f} |"
        )
    return "\n".join(lines)


def _watched(command: list[str]) -> tuple[Any, float, float, float, float]:
    """A run; of it with all of its children at one time, the most anonymous and the most resident MiB; and the most
    anonymous MiB of the process itself and of any other that it started."""
    most = [0.0, 0.0, 0.0, 0.0]
    done = threading.Event()
    own = os.getpid()

    def watch() -> None:
        while not done.is_set():
            anonymous = shared = 0.0
            for number, pid in enumerate(_children(own)):
                held = _memory(pid)
                anonymous, shared = anonymous + held[0], shared + held[1]
                most[3 if number else 2] = max(most[3 if number else 2], held[0])
            most[0], most[1] = max(most[0], anonymous), max(most[1], anonymous + shared)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        spent = spend(command, accepted=(0, 1, 2), environment={"PYTHONPATH": str(ROOT)})
    finally:
        done.set()
        watcher.join()
    return spent, most[0], most[1], most[2], most[3]


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            below = [int(each) for each in (task / "children").read_text().split()]
        except OSError:
            continue
        for each in below:
            found += [each, *_children(each)]
    return found


def _memory(pid: int) -> tuple[float, float]:
    """Anonymous and file-backed resident MiB; pages that processes share are counted once for each."""
    try:
        told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return 0.0, 0.0
    kib = [int(told[key].split()[0]) if key in told else 0 for key in ("RssAnon", "RssFile", "RssShmem")]
    return kib[0] / 1024, (kib[1] + kib[2]) / 1024
