"""Models that LiteRT runs as sides of a pair: opened, fed by position, and observed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qgate.measure.data import DataFile
from qgate.measure.layers.layer import Layer
from qgate.measure.request import PairRequest
from qgate.runtimes.base import Runner
from qgate.runtimes.litert import LiteRtRunner
from qgate.sandbox.quoting import one_line

FORM = "tflite"


def open_litert(
    request: PairRequest, role: str, path: Path, threads: int, *, delegate: bool = True
) -> LiteRtRunner:
    """Loads a side; a candidate that takes codes is given the reference's numbers, and its answers are made numbers again.

    Raises:
        ModelRefusedError: LiteRT does not load it.
    """
    return LiteRtRunner(path, threads=threads, numbers=_by_numbers(request, role), delegate=delegate)


def tapped_litert(
    request: PairRequest, role: str, layers: Sequence[Layer], threads: int, known: Sequence[str]
) -> LiteRtRunner:
    """The side with the layers' tensors: the reference's but for its ends, the candidate's as the file holds them.

    Args:
        request: The request.
        role: Reference or candidate.
        layers: What is compared.
        threads: Threads within one run.
        known: Names of the side's inputs and outputs.

    Raises:
        ModelRefusedError: LiteRT does not load it, or does not hand its tensors out.
    """
    path = request.reference if role == "reference" else request.candidate
    if path is None:
        raise AssertionError("layers belong to two models")
    names = [layer.reference if role == "reference" else layer.candidate for layer in layers]
    coded = _by_numbers(request, role)
    taps = [name for name in dict.fromkeys(names) if coded or name not in known]
    return LiteRtRunner(path, threads=threads, taps=taps, numbers=coded)


def remark_codes(runners: Mapping[str, Runner]) -> Iterator[tuple[str, str]]:
    """Says which ends of a model hold codes where the other model's hold numbers."""
    for role, runner in runners.items():
        coded = getattr(runner, "coded", ())
        if coded:
            names = ", ".join(repr(one_line(name, 60)) for name in coded[:4])
            yield (
                "interface",
                f"the {role} takes or gives codes at {names}: they were made and read by its own scales",
            )


def name_after_data(
    request: PairRequest, names: Mapping[str, dict[str, str]], leading: str, file: DataFile
) -> None:
    """Lets the data's only array feed a model's only input, whatever a converter called that.

    Args:
        request: The request.
        names: By role each input's name to the array's; changed.
        leading: The role that says which arrays there must be.
        file: The data.
    """
    arrays = [name for name in file.arrays if name not in (request.labels, request.slices)]
    wanted = list(names[leading].values())
    if len(arrays) != 1 or len(wanted) != 1 or wanted[0] in file.arrays:
        return
    for held in names.values():
        for name, array in held.items():
            if array == wanted[0]:
                held[name] = arrays[0]


def _by_numbers(request: PairRequest, role: str) -> bool:
    return role == "candidate" and request.reference is not None
