"""The corpus is alive, nothing of it gets past a reader, and honest files do."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpus.hostile import build, catalogue, reading, twins
from tests.corpus.hostile.benign import Benign, benign, counts

SECONDS = 10.0
"""Of processor time, which other work on the machine does not change."""

PATIENCE = 90
"""Of waiting; only what never ends takes as long."""

QUICK = ("pickle", "torch-legacy", "data")
"""Families that are loaded naively here: the others need torch in every fork, and the bench has them."""

DYNAMIC_LSTM = {"torch-ao-(dynamic)-lstm-qint8", "torch-ao-(dynamic)-lstm-float16"}
"""TorchBind objects in a state dict: refused on purpose, as ``weights_only=True`` refuses them."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[build.Row]]:
    pytest.importorskip("torch")
    out = tmp_path_factory.mktemp("hostile") / "corpus"
    return out, build.write(out)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[Benign]:
    pytest.importorskip("torch")
    found, _ = benign(tmp_path_factory.mktemp("benign"), full=False)
    return found


def test_there_are_enough_of_them() -> None:
    families = Counter(made.family for made in catalogue.CASES.values())
    assert sum(families.values()) >= 450
    assert len(families) >= 8
    assert all(made.technique for made in catalogue.CASES.values())


def test_their_payloads_are_alive(corpus: tuple[Path, list[build.Row]]) -> None:
    out, rows = corpus
    slow = ("gadget-library", "gadget-process-pip")
    chosen = [row for row in rows if row["family"] in QUICK and not row["name"].startswith(slow)]
    alive = build.prove(out, chosen)
    silent = [name for name, ran in alive.items() if not ran]
    # Other releases of Python lack one module or another; that most payloads run is the point.
    assert sum(alive.values()) >= 0.9 * len(alive), silent
    assert sum(alive.values()) >= 120, silent


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in the block once its time is over, also while it waits for the system."""

    def over(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_every_case_is_refused_in_time_and_none_runs(corpus: tuple[Path, list[build.Row]]) -> None:
    out, rows = corpus
    wrong = {}
    honest = twins.write(out / "twins")
    for row in rows:
        began = time.process_time()
        try:
            with limited(PATIENCE):
                twin = honest[twins.TWINS[row["family"]]]
                why = reading.refusal(out / row["file"], row["role"], twin)
        except Exception as error:
            wrong[row["name"]] = f"{type(error).__name__}: {error}"
            continue
        if not why and row["name"] not in catalogue.BOUNDED:
            wrong[row["name"]] = "read"
        if time.process_time() - began > SECONDS:
            wrong[row["name"]] = "slow"
    assert build.canaries(out) == [], "a payload ran"
    assert wrong == {}


def test_honest_twins_are_not_refused(corpus: tuple[Path, list[build.Row]]) -> None:
    held = twins.write(corpus[0] / "honest")
    models = {name: path for name, path in held.items() if path.suffix != ".npz"}
    assert {name: reading.refusal(path, twin=path) for name, path in models.items()} == dict.fromkeys(
        models, ""
    )
    # What a twin's own errors excuse is that nothing ran and nothing was quantized, and no more.
    excused = frozenset().union(*(reading._own_errors(path) for path in models.values()))
    assert excused <= {"ART115", "QNT101", "QNT103"}


def test_honest_files_of_many_exporters_are_read(honest: list[Benign]) -> None:
    refused = {item.name: reading.refusal(item.path, item.role) for item in honest}
    refused = {name: why for name, why in refused.items() if why and name not in DYNAMIC_LSTM}
    assert refused == {}
    assert len(counts(honest)) >= 8
    assert len(honest) >= (140 if importlib.util.find_spec("safetensors") else 110)


def test_payloads_reach_only_their_own_canary(corpus: tuple[Path, list[build.Row]]) -> None:
    out, rows = corpus
    homes = {row["name"]: str((out / row["canary"]).parent) for row in rows}
    assert len(set(homes.values())) == len(rows)
    for row in rows:
        path = out / row["file"]
        data = path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else b""
        named = {name for name, home in homes.items() if home.encode() + b"/" in data}
        assert named <= {row["name"]}
