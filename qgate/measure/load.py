"""Loads the two models of a pair and finds out how the samples feed them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qgate.errors import DataError
from qgate.measure.data import DataFile
from qgate.measure.feed import FeedMismatchError, FeedPlan, plan_feeds
from qgate.measure.generate import describe, generate_samples
from qgate.measure.graph_hints import GraphHints, read_hints
from qgate.measure.layers.session import JoinedModel, LayerSession
from qgate.measure.layers.statistics import LayersError
from qgate.measure.layers.tapped import TappedModel
from qgate.measure.request import PairRequest
from qgate.measure.samples import GeneratedSamples, NpzSamples, Samples
from qgate.measure.side import Side, SideError
from qgate.measure.sides_of_litert import FORM, name_after_data, open_litert, remark_codes, tapped_litert
from qgate.measure.sides_of_torch import open_torch, require_sides_apart, settle_torch, tapped_torch
from qgate.measure.sole_images import feed_sole_images
from qgate.measure.unchosen import as_taken
from qgate.runtimes.base import ModelRefusedError, Runner, TensorInfo
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner
from qgate.sandbox.quoting import one_line

MAX_WORKERS = 8

APART_BYTES = 256 << 20
"""Models of more than this are held once: plain for the first samples, joined for the rest, plain again for the edges.
Smaller ones are held twice, because loading them again takes longer than their memory is worth."""

_REDUCED = "ONNX Runtime cannot optimise the {} for exact integer products, so it was run as written"


@dataclass
class Pair:
    """The loaded models and the samples.

    Args:
        sides: Reference and candidate; the candidate alone without a reference or where it could not be
            fed, in which case ``unfed`` says why and only the reference is there.
        samples: What they are run on.
        unfed: Why the candidate is not run; empty where it is.
        untapped: Why activations are not watched although they were asked for; empty where they are.
        problems: Kind and message of what the reader must know.
        session: Both models in one, where layers are compared.
        loaded: Which tensors of a file were put into a module, by side; see ``PairRequest.states``.
    """

    sides: dict[str, Side]
    samples: Samples
    unfed: str = ""
    untapped: str = ""
    problems: list[tuple[str, str]] = field(default_factory=list)
    session: LayerSession | None = None
    loaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Bytes of inner tensors that a sample takes while layers are observed, where a runtime keeps them all."""
        model = self.session.begin() if self.session is not None and not self.session.apart else None
        return model.kept if isinstance(model, TappedModel) else 0


def processors(request: PairRequest) -> int:
    """Processor threads to use."""
    return max(1, request.threads or len(os.sched_getaffinity(0)))


def load_pair(request: PairRequest, file: DataFile | None, threads: int) -> Pair:
    """Loads both models, reads or generates the samples and plans the feeding.

    Args:
        request: The request.
        file: The opened inputs; None generates them.
        threads: Threads within one run of a model.

    Raises:
        SideError: A model was refused.
        DataError: The inputs do not fit the reference (or the candidate, where it is alone).
        LayersError: Layers are asked for and cannot be compared.
    """
    runners, untapped = _load_runners(request, threads)
    require_sides_apart(request, runners)
    leading = "reference" if "reference" in runners else "candidate"
    settle_torch(request, runners, file)
    names = {role: _array_names(request, role, runner) for role, runner in runners.items()}
    if request.forms.get(leading) == FORM and file is not None:
        name_after_data(request, names, leading, file)
    problems = [("runtime", _REDUCED.format(role)) for role, runner in runners.items() if runner.reduced]
    problems += remark_codes(runners)
    if file is not None:
        problems += feed_sole_images(file, names[leading].values())
        wanted = _wanted_arrays(request, runners, names, file)
        takes = [(names[role][info.name], info) for role, runner in runners.items() for info in runner.inputs]
        samples: Samples = NpzSamples(file, wanted, as_taken(file.arrays, takes, request.io_types))
        _remark_extra(request, file, wanted, problems)
    else:
        samples = _generate(request, runners, names, leading)
        problems.append(("data", f"inputs were generated from seed {request.seed}: {describe(samples)}"))
    sides, unfed = {}, ""
    for role, runner in runners.items():
        try:
            plan = _plan(request, runner, names[role], samples)
        except FeedMismatchError as error:
            if role == leading:
                raise DataError(error.what, where=request.label("inputs"), remedy=error.remedy) from error
            unfed = f"the candidate does not take the reference's inputs: {error.what}"
            problems.append(("interface", unfed))
            continue
        sides[role] = Side(role, runner, plan, single=request.dynamic and role == "candidate")
    if "reference" in sides and not untapped and not request.layers and "reference" not in request.forms:
        sides["reference"].watched = frozenset(tap.tensor for tap in request.taps)
    if "reference" in request.forms and request.taps and not request.layers:
        untapped = "its layers could not be observed"
    if untapped:
        problems.append(("taps", untapped))
    session = _session(request, sides, threads) if request.layers else None
    loaded = {role: str(getattr(runners[role], "loaded", "")) for role in request.states}
    return Pair(sides, samples, unfed, untapped, problems, session, loaded)


def load_side(
    request: PairRequest, role: Literal["reference", "candidate"], file: DataFile | None, threads: int
) -> tuple[Side, Samples]:
    """Loads one of the two models by itself.

    Raises:
        SideError: It was refused.
        DataError: The inputs do not fit it.
    """
    path = request.reference if role == "reference" else request.candidate
    if path is None:
        raise AssertionError("a side that there is not")
    runner = _load(role, lambda: OnnxRuntimeRunner(path, threads=threads))
    names: dict[str, dict[str, str]] = {role: _array_names(request, role, runner)}
    if file is not None:
        list(feed_sole_images(file, names[role].values()))  # the run has told of it
    samples: Samples = (
        NpzSamples(
            file,
            [name for name in names[role].values() if name in file.arrays],
            as_taken(
                file.arrays, [(names[role][info.name], info) for info in runner.inputs], request.io_types
            ),
        )
        if file is not None
        else _generate(request, {role: runner}, names, role)
    )
    return Side(role, runner, _plan(request, runner, names[role], samples)), samples


def _session(request: PairRequest, sides: Mapping[str, Side], threads: int) -> LayerSession:
    """Both models ready to have their layers compared: in one graph where they were joined.

    Raises:
        LayersError: They cannot be loaded like that, or cannot be given the same inputs.
    """
    if len(sides) != 2:
        raise LayersError("the models cannot be given the same inputs")
    counts = len(sides["reference"].runner.outputs), len(sides["candidate"].runner.outputs)

    def load() -> JoinedModel | TappedModel:
        try:
            if request.joined is None:
                return _tapped(request, sides, threads)
            runner = OnnxRuntimeRunner(request.joined, threads=threads)
        except ModelRefusedError as error:
            reason = f"ONNX Runtime does not load the models with their layers: {error.what}"
            raise LayersError(reason) from error
        return JoinedModel(runner, request.mark, request.layers, counts)

    session = LayerSession(load, sides, apart=request.joined is not None and _bytes(request) > APART_BYTES)
    if not session.apart:
        session.begin()
    return session


def _bytes(request: PairRequest) -> int:
    """Of both models, with what lies beside them."""
    files = (request.reference, request.candidate, *request.side_files)
    return sum(path.stat().st_size for path in files if path is not None and path.is_file())


def _tapped(request: PairRequest, sides: Mapping[str, Side], threads: int) -> TappedModel:
    wanted = {
        "reference": [layer.reference for layer in request.layers],
        "candidate": [layer.candidate for layer in request.layers],
    }
    runners: dict[str, Runner] = {}
    for role, names in wanted.items():
        plain = sides[role].runner
        if request.forms.get(role) == FORM:
            ends = [info.name for info in (*plain.inputs, *plain.outputs)]
            runners[role] = tapped_litert(request, role, request.layers, threads, ends)
            continue
        if role in request.forms:
            runners[role] = tapped_torch(sides, role, request.layers)
            continue
        known = {info.name for info in (*plain.inputs, *plain.outputs)}
        taps = list(dict.fromkeys(name for name in names if name not in known))
        path = request.reference if role == "reference" else request.candidate
        if path is None:
            raise AssertionError("layers belong to two models")
        runners[role] = OnnxRuntimeRunner(path, threads=threads, taps=taps) if taps else plain
    return TappedModel(runners, request.layers)


def _load_runners(request: PairRequest, threads: int) -> tuple[dict[str, Runner], str]:
    """Both models, loaded at the same time; and why the reference is not tapped, if it should be."""
    with ThreadPoolExecutor(2) as pool:
        candidate = pool.submit(
            _load, "candidate", lambda: _open(request, "candidate", request.candidate, threads)
        )
        if request.reference is None:
            return {"candidate": candidate.result()}, ""
        path, untapped = request.reference, ""
        plain = _load("reference", lambda: _open(request, "reference", path, threads))
        onnx = "reference" not in request.forms
        taps = _inner_taps(request, plain) if onnx and not request.layers else []
        if taps:
            try:
                plain = OnnxRuntimeRunner(path, threads=threads, taps=taps)
            except ModelRefusedError as error:
                untapped = f"the reference does not load with its inner tensors exposed: {error.what}"
        return {"reference": plain, "candidate": candidate.result()}, untapped


def _open(request: PairRequest, role: str, path: Path, threads: int) -> Runner:
    if request.forms.get(role) == FORM:
        return open_litert(request, role, path, threads)
    if role in request.forms:
        return open_torch(request, role, path, processors(request))
    return OnnxRuntimeRunner(path, threads=threads)


def _load(role: str, load: Callable[[], Runner]) -> Runner:
    try:
        return load()
    except ModelRefusedError as error:
        raise SideError(role, error) from error


def _inner_taps(request: PairRequest, runner: Runner) -> list[str]:
    """Tapped tensors, once each, that are neither inputs nor outputs of the model."""
    known = {info.name for info in (*runner.inputs, *runner.outputs)}
    return list(dict.fromkeys(tap.tensor for tap in request.taps if tap.tensor not in known))


def _array_names(request: PairRequest, role: str, runner: Runner) -> dict[str, str]:
    """The model's input names to the data set's, which are the reference's."""
    if role == "reference" or request.reference is None:
        return {info.name: info.name for info in runner.inputs}
    back = {theirs: ours for ours, theirs in request.io_map.items()}
    return {info.name: back.get(info.name, info.name) for info in runner.inputs}


def _wanted_arrays(
    request: PairRequest,
    runners: Mapping[str, Runner],
    names: Mapping[str, Mapping[str, str]],
    file: DataFile,
) -> list[str]:
    """Arrays that feed the models; each exists, but for inputs that only the candidate has."""
    wanted: dict[str, None] = {}
    for role, runner in runners.items():
        alone = role == "reference" or request.reference is None
        for info in runner.inputs:
            array = names[role][info.name]
            if alone or array in request.io_optional or array in file.arrays:
                file.spec(array, f"the input {one_line(info.name, 80)!r}")
                wanted[array] = None
    return list(wanted)


def _remark_extra(
    request: PairRequest, file: DataFile, wanted: Sequence[str], problems: list[tuple[str, str]]
) -> None:
    used = {*wanted, request.labels, request.slices}
    extra = [one_line(name, 60) for name in file.arrays if name not in used]
    if extra:
        more = f" and {len(extra) - 10} more" if len(extra) > 10 else ""
        problems.append(("data", f"arrays that feed nothing: {', '.join(extra[:10])}{more}"))


def _generate(
    request: PairRequest, runners: Mapping[str, Runner], names: Mapping[str, Mapping[str, str]], leading: str
) -> GeneratedSamples:
    named = {role: _renamed(runner.inputs, names[role]) for role, runner in runners.items()}
    others = {info.name: info for role in named if role != leading for info in named[role]}
    known = {info.name for info in named[leading]}
    ordered = [*named[leading], *(info for name, info in others.items() if name not in known)]

    def attempt(samples: GeneratedSamples) -> None:
        plan = _plan(request, runners[leading], names[leading], samples)
        runners[leading].run(plan.feeds(samples.first(), 0, 1))

    whole = any(not info.dtype.startswith("float") for info in ordered)
    return generate_samples(
        ordered,
        others,
        attempt,
        hints=_hints(request, leading) if whole and leading not in request.forms else GraphHints(),
        types=request.io_types,
        count=request.samples,
        seed=request.seed,
        distribution=request.distribution,
        ranges={tap.tensor: (tap.low, tap.high) for tap in request.taps},
    )


def _hints(request: PairRequest, leading: str) -> GraphHints:
    path = (
        request.reference if leading == "reference" and request.reference is not None else request.candidate
    )
    return read_hints(path)


def _renamed(inputs: Sequence[TensorInfo], names: Mapping[str, str]) -> list[TensorInfo]:
    return [TensorInfo(names[info.name], info.dtype, info.shape) for info in inputs]


def _plan(request: PairRequest, runner: Runner, names: Mapping[str, str], samples: Samples) -> FeedPlan:
    missing = [info.name for info in runner.inputs if names[info.name] not in samples.arrays]
    if missing:
        raise FeedMismatchError(
            f"nothing feeds its input {one_line(missing[0], 80)!r}",
            remedy="Declare intended differences of the interface under io",
        )
    return plan_feeds(runner.inputs, samples.arrays, names, request.io_types)
