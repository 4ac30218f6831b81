"""Models that PyTorch runs as sides of a pair: opened, given names, and observed.

PyTorch has names for neither inputs nor outputs that another format would keep. So a side that it runs takes over
the other side's names by position; where both are PyTorch's, the reference's lead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from qgate.errors import DataError
from qgate.measure.data import DataFile
from qgate.measure.layers.layer import Layer
from qgate.measure.plugin import PluginError, load_function
from qgate.measure.request import PairRequest
from qgate.measure.side import Side, SideError
from qgate.runtimes.base import ModelRefusedError, Runner, TensorInfo
from qgate.runtimes.pytorch.runner import TorchRunner
from qgate.sandbox.quoting import one_line


def open_torch(request: PairRequest, role: str, path: Path, threads: int) -> TorchRunner:
    """Loads a side that PyTorch runs.

    Raises:
        ModelRefusedError: It does not load.
        PluginError: Its factory failed.
    """
    from qgate.runtimes.pytorch.load import load_torch

    plugin = request.code.get(f"factory.{role}")
    factory = load_function(plugin) if plugin is not None else None
    runner = load_torch(path, request.forms[role], factory, threads=threads)
    if request.states.get(role, runner.loaded) != runner.loaded:
        raise ModelRefusedError("other tensors of it were loaded than were judged")
    return runner


def require_sides_apart(request: PairRequest, runners: Mapping[str, Runner]) -> None:
    """Refuses a pair whose two modules are one, see ``state.require_apart``.

    Raises:
        PluginError: They are.
    """
    from qgate.runtimes.pytorch.state import require_apart

    reference, candidate = (getattr(runners.get(role), "module", None) for role in ("reference", "candidate"))
    if reference is None or candidate is None:
        return
    try:
        require_apart(reference, candidate)
    except ModelRefusedError as error:
        plugin = request.code.get("factory.candidate")
        raise PluginError(
            error.what, where="factory" if plugin is None else plugin.label,
            remedy="Build a new module with tensors of its own at each call, and keep none",
        ) from error  # fmt: skip


def settle_torch(request: PairRequest, runners: Mapping[str, Runner], file: DataFile | None) -> None:
    """Gives every PyTorch side its names, shapes and outputs; does nothing where there is none.

    Raises:
        DataError: Shapes are told by nothing.
        SideError: A model does not take inputs of the shapes that are told.
    """
    roles = [role for role in ("reference", "candidate") if isinstance(runners.get(role), TorchRunner)]
    # Where both are PyTorch's, the one that says which shapes it takes goes first.
    roles.sort(key=lambda role: getattr(runners[role], "unknown", False))
    known: Runner | None = next(
        (each for each in runners.values() if not isinstance(each, TorchRunner)), None
    )
    _name_inputs(request, runners, file)
    for role in roles:
        runner = runners[role]
        if not isinstance(runner, TorchRunner):
            continue
        try:
            runner.settle(_shapes(request, runner, known, file))
        except ModelRefusedError as error:
            raise SideError(role, error) from error
        known = known or runner
    _name_outputs(request, runners)


def _name_inputs(request: PairRequest, runners: Mapping[str, Runner], file: DataFile | None) -> None:
    """By position: a model's inputs after the other's; of two by PyTorch, the candidate's after the reference's."""
    reference, candidate = runners.get("reference"), runners.get("candidate")
    if isinstance(reference, TorchRunner) and file is not None:
        _name_after_data(request, reference, file)
    if reference is None or candidate is None:
        if isinstance(candidate, TorchRunner) and file is not None:
            _name_after_data(request, candidate, file)
    elif len(reference.inputs) != len(candidate.inputs):
        return
    elif isinstance(candidate, TorchRunner):
        candidate.rename(inputs=[request.io_map.get(i.name, i.name) for i in reference.inputs])
    elif isinstance(reference, TorchRunner):
        back = {theirs: ours for ours, theirs in request.io_map.items()}
        reference.rename(inputs=[back.get(i.name, i.name) for i in candidate.inputs])


def _name_after_data(request: PairRequest, runner: TorchRunner, file: DataFile) -> None:
    """A model's only input after the data's only array."""
    arrays = [name for name in file.arrays if name not in (request.labels, request.slices)]
    if len(arrays) == len(runner.inputs) == 1:
        runner.rename(inputs=arrays)


def _name_outputs(request: PairRequest, runners: Mapping[str, Runner]) -> None:
    reference, candidate = runners.get("reference"), runners.get("candidate")
    if reference is None or candidate is None or len(reference.outputs) != len(candidate.outputs):
        return
    if isinstance(candidate, TorchRunner):
        candidate.rename(outputs=[request.io_map.get(o.name, o.name) for o in reference.outputs])
    elif isinstance(reference, TorchRunner):
        back = {theirs: ours for ours, theirs in request.io_map.items()}
        reference.rename(outputs=[back.get(o.name, o.name) for o in candidate.outputs])


def _shapes(
    request: PairRequest, runner: TorchRunner, known: Runner | None, file: DataFile | None
) -> Sequence[TensorInfo] | None:
    """Types and shapes of the inputs: from the other side, else from the data; None where they are known."""
    if not runner.unknown:
        return None
    if known is not None and len(known.inputs) == len(runner.inputs):
        return known.inputs
    if file is None:
        raise DataError(
            "PyTorch does not say which inputs the model takes",
            where=request.label("inputs"),
            remedy="Give inputs, or let the factory return the module and example inputs",
        )
    found = []
    for info in runner.inputs:
        spec = file.spec(info.name, f"the input {one_line(info.name, 80)!r}")
        found.append(TensorInfo(info.name, str(spec.dtype), ("N", *spec.shape[1:])))
    return found


def tapped_torch(sides: Mapping[str, Side], role: str, layers: Sequence[Layer]) -> Runner:
    """The side with the layers' tensors; of the reference the positive part, where the candidate fused a ReLU.

    Raises:
        ModelRefusedError: The side is not run by PyTorch.
    """
    runner, candidate = sides[role].runner, sides["candidate"].runner
    if not isinstance(runner, TorchRunner):
        raise ModelRefusedError("the model is not run by PyTorch")
    names = [layer.reference if role == "reference" else layer.candidate for layer in layers]
    fused: frozenset[str] = frozenset()
    if role == "reference" and isinstance(candidate, TorchRunner):
        fused = frozenset(layer.reference for layer in layers if candidate.fused(layer.candidate))
    return runner.tapped(list(dict.fromkeys(names)), fused)
