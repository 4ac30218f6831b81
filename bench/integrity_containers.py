"""Hostile containers blocked, canaries run, honest files falsely blocked, beside picklescan and modelscan.

A hostile container counts as blocked where ``qgate verify``, run whole in a process, does not pass it and names an
error that the same run over the honest twin does not have. Every payload creates a file of its own, the canary,
when it runs; that the payloads are alive is shown by loading each as a careless user would.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from integrity_peers import Peer, scan
from integrity_rows import Row
from integrity_verify import Said, verify

from tests.corpus.hostile import build, reading, twins
from tests.corpus.hostile.benign import benign, counts
from tests.corpus.hostile.twins import TWINS

JOBS = 2
CLAIMED = ("pickle", "torch-zip", "torch-legacy", "data")
"""Families of the formats that both peers say they scan: pickle, PyTorch, NumPy."""


def run(scale: float) -> Iterator[Row]:
    """The rows of this section."""
    with tempfile.TemporaryDirectory(prefix="integrity-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield from _containers(folder, scale)


def _containers(folder: Path, scale: float) -> Iterator[Row]:
    rows = build.write(folder / "hostile")
    rows = rows[:: max(1, round(1 / scale))]
    alive = build.prove(folder / "hostile", rows)
    honest_files = twins.write(folder / "twins")
    said = _verified(folder, rows, honest_files)
    ran = build.canaries(folder / "hostile")
    honest, skipped = benign(folder / "benign", full=scale >= 1)
    paths = {row["name"]: folder / "hostile" / row["file"] for row in rows}
    regular = [path for path in paths.values() if path.is_file()]
    peers = scan([*regular, *(item.path for item in honest)], folder)

    missed = [row["name"] for row in rows if not _blocked(said[row["name"]], said[TWINS[row["family"]]])]
    families = len({row["family"] for row in rows})
    yield Row(
        f"hostile containers of {families} families blocked", f"{len(rows) - len(missed)} of {len(rows)}", "all", not missed,
        tuple((peer.label, f"{peer.blocked(regular)}, most are of formats that it does not scan") for peer in peers),
        tuple(missed),
    )  # fmt: skip
    live = [row for row in rows if alive.get(row["name"])]
    claimed = [row for row in live if row["family"] in CLAIMED]
    yield Row("payloads that run where the file is loaded naively", f"{len(live)} of {len(alive)}")
    stopped = [row["name"] for row in claimed if row["name"] not in missed]
    yield Row(
        "of these, in pickle, PyTorch and NumPy files, blocked", f"{len(stopped)} of {len(claimed)}", "all",
        len(stopped) == len(claimed),
        tuple((p.label, f"{p.blocked(paths[r['name']] for r in claimed)} of {len(claimed)}") for p in peers),
    )  # fmt: skip
    yield Row("canaries run by qgate", str(len(ran)), "0", not ran, misses=tuple(ran))
    crashed = [row["name"] for row in rows if said[row["name"]].verdict in ("CRASH", "HUNG")]
    yield Row("tracebacks and hangs over them", str(len(crashed)), "0", not crashed, misses=tuple(crashed))
    yield from _honest(honest, skipped, peers)
    sound = [
        name for name in sorted(set(TWINS.values())) if said[name].verdict not in ("PASS", "INCONCLUSIVE")
    ]
    yield Row("honest twins refused", str(len(sound)), "0", not sound, misses=tuple(sound))


def _verified(folder: Path, rows: list[build.Row], honest: dict[str, Path]) -> dict[str, Said]:
    """Every case against its twin, and each twin against itself."""

    def one(name: str, family: str, path: Path, role: str) -> tuple[str, Said]:
        reference = honest[TWINS[family]]
        candidate, inputs = (reference, path) if role == "data" else (path, honest["inputs.npz"])
        given = inputs if reference.suffix == ".onnx" else None
        return name, verify(reference, candidate, folder / "reports" / name, "--scheme", "none", inputs=given)

    orders = [(row["name"], row["family"], folder / "hostile" / row["file"], row["role"]) for row in rows]
    families = {twin: family for family, twin in TWINS.items()}
    orders += [(twin, family, honest[twin], "candidate") for twin, family in families.items()]
    with ThreadPoolExecutor(JOBS) as pool:
        return dict(pool.map(lambda order: one(*order), orders))


def _blocked(said: Said, twin: Said) -> bool:
    return (
        said.verdict in ("FAIL", "ERROR", "INCONCLUSIVE")
        and said.code in (1, 2)
        and bool(said.rules - twin.rules)
    )


def _honest(honest: list, skipped: list[str], peers: list[Peer]) -> Iterator[Row]:
    refused = {item.name: item for item in honest if reading.refusal(item.path, item.role)}
    for reason in skipped:
        print(f"not made: {reason}", file=sys.stderr)
    objects = [name for name, item in refused.items() if _refused_by_torch(item.path)]
    counted = [item for item in honest if item.name not in objects]
    wrong = [name for name in refused if name not in objects]
    tools = counts(counted)
    schemes = len({item.scheme for item in counted})
    yield Row(
        f"honest files of {len(tools)} exporters in {schemes} schemes falsely blocked", f"{len(wrong)} of {len(counted)}",
        "0", not wrong,
        tuple((peer.label, f"{peer.blocked(item.path for item in counted)} of {len(counted)}") for peer in peers),
        tuple(wrong),
    )  # fmt: skip
    yield Row(
        "honest files besides with objects among their tensors, which PyTorch's `weights_only=True` refuses as well",
        f"{len(objects)}",
        misses=tuple(objects),
    )


def _refused_by_torch(path: Path) -> bool:
    """Whether PyTorch itself names something in a checkpoint that is more than tensors."""
    if path.suffix not in (".pt", ".pth"):
        return False
    import pickle

    import torch

    with contextlib.suppress(ImportError):
        import torchao.quantization  # noqa: F401, its classes become known to torch.load
    try:
        torch.load(path, weights_only=True)
    except pickle.UnpicklingError:
        return True
    return False
