"""What a model holds: digests for the report, leaves for the artifact, and where two models differ."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import FormatError, QgateError
from qgate.merkle import content_digest, elements_of, leaf_runs, parse_entry
from qgate.records import Finding, Severity
from qgate.report.schema import MAX_TENSORS, Artifact, Content, ContentDelta, TensorDelta
from qgate.verify.pair import Acquire
from qgate.verify.state import State, error_finding, timed

if TYPE_CHECKING:
    from qgate.formats.model import Constant, StaticModel

SHOWN_RANGES = 8
_ROOM = 4
_LEAST_ROOM = 2**26


def digest_models(
    state: State, candidate: StaticModel, reference: StaticModel | None, leaves: Path | None
) -> None:
    """Adds the content digests of both models, and writes the candidate's leaves.

    Args:
        state: Gets the digests; and an error where a model's content cannot be read.
        candidate: Its tensors are listed one by one.
        reference: Its digest alone is kept.
        leaves: The file for the candidate's leaves; None for none.
    """
    from qgate.formats.content import content_of, model_content
    from qgate.formats.leaves import write_leaves

    started = time.perf_counter()
    side = "candidate"
    try:
        found = model_content(candidate)
        entries = found.entries
        _keep(state, side, content_digest(found.graph, entries))
        listed = entries if len(entries) <= MAX_TENSORS else ()
        state.content = Content(graph=found.graph, count=len(entries), tensors=listed)
        side = "reference"
        if reference is not None:
            _keep(state, side, content_of(reference))
        if leaves is not None:
            write_leaves(found, leaves)
    except FormatError as error:
        state.findings.append(error_finding(error, error.rule, side))
    except OSError as error:
        state.findings.append(_not_written(error))
    finally:
        timed(state, "content", started)


def _keep(state: State, side: str, digest: str) -> None:
    state.artifacts[side] = state.artifacts[side].model_copy(update={"content": digest})


def _not_written(error: OSError) -> Finding:
    return Finding(
        rule="TRC114",
        severity=Severity.NOTE,
        message=f"The leaves of the content digests could not be written ({error.strerror})",
        remedy="Give the report's folder room; a later run then locates a change in this model by tensor only",
    )


@dataclass(frozen=True)
class Sources:
    """Where a difference can be located from.

    Args:
        new: Copies the candidate.
        old: Copies the accepted model; None where the repository does not hold it.
        new_leaves: Leaves of the candidate, written by this run.
        old_leaves: Leaves of the accepted model, if the user has given any; they need not be trusted.
    """

    new: Acquire
    old: Acquire | None
    new_leaves: Path
    old_leaves: Path | None


def locate(
    delta: ContentDelta, accepted: tuple[Artifact, Content | None], sources: Sources, staging: Path
) -> ContentDelta:
    """Fills in where tensors differ: to the element from both models, else to the leaf from both lists.

    Never raises: where places cannot be had, the difference says why.

    Args:
        delta: What differs.
        accepted: The accepted model, as the baseline describes it.
        sources: Where to look.
        staging: An empty folder for the copies.
    """
    reasons = []
    if sources.old is None:
        reasons.append("the repository does not hold the accepted model")
    else:
        try:
            old = _opened(sources.old, staging / "accepted", accepted[0])
            new = _opened(sources.new, staging / "candidate", None)
            return locate_elements(delta, old, new)
        except QgateError as error:
            reasons.append(str(error))
    if sources.old_leaves is None or not sources.old_leaves.exists():
        reasons.append("no leaves of it are given")
    elif accepted[1] is not None:
        try:
            roots = {entry.name: entry.root for entry in map(parse_entry, accepted[1].tensors)}
            return locate_leaves(delta, sources.old_leaves, sources.new_leaves, roots)
        except QgateError as error:
            reasons.append(str(error))
    return delta.model_copy(update={"reason": "; ".join(reasons)[:300]})


def _opened(acquire: Acquire, folder: Path, told: Artifact | None) -> StaticModel:
    from qgate.formats.read import read_model

    acquired = acquire(folder)
    if told is not None and (acquired.sha256, acquired.files) != (told.sha256, told.files):
        raise FormatError("the trusted side's candidate is not the accepted one", rule="TRC114")
    return read_model(acquired.main)


def locate_elements(delta: ContentDelta, old: StaticModel, new: StaticModel) -> ContentDelta:
    """Fills in which elements differ, from both models themselves.

    Raises:
        FormatError: A tensor does not hold what it declares.
    """
    from qgate.formats.content import tensor_slots

    before, after = ({slot.name: slot.constant for slot in tensor_slots(side)} for side in (old, new))
    # Tensors may share one range of a file, so that listing them costs more than the files have bytes.
    room = _LEAST_ROOM + _ROOM * (old.file_bytes + new.file_bytes)
    tensors = []
    for tensor in delta.tensors:
        held = after.get(tensor.name)
        room -= held.bytes if held is not None and _has_places(tensor) else 0
        tensors.append(_with_elements(tensor, before, after) if room >= 0 else tensor)
    return delta.model_copy(update={"tensors": tuple(tensors), "located": "elements", "reason": ""})


def _with_elements(
    tensor: TensorDelta, before: Mapping[str, Constant], after: Mapping[str, Constant]
) -> TensorDelta:
    from qgate.formats.difference import difference

    pair = before.get(tensor.before or tensor.name), after.get(tensor.name)
    if not _has_places(tensor) or pair[0] is None or pair[1] is None:
        return tensor
    found = difference(pair[0], pair[1])
    told = {"elements": found.elements, "at": found.at, "was": found.was or None, "now": found.now or None}
    return tensor.model_copy(update=told)


def locate_leaves(delta: ContentDelta, old: Path, new: Path, accepted: Mapping[str, str]) -> ContentDelta:
    """Fills in between which elements tensors differ, from two files of leaves.

    Args:
        delta: What differs.
        old: Leaves of the accepted model; they need not be trusted.
        new: Leaves of the candidate.
        accepted: Roots of the accepted model by tensor, which are trusted.

    Raises:
        FormatError: A file of leaves cannot be used, or is not of the accepted model.
    """
    from qgate.formats.leaves import read_leaves

    before, after = read_leaves(old), read_leaves(new)
    found = []
    for tensor in delta.tensors:
        name = tensor.before or tensor.name
        if not _has_places(tensor):
            found.append(tensor)
            continue
        if name not in before or before[name][0] != accepted.get(name) or tensor.name not in after:
            raise FormatError(
                f"the leaves are not those of the accepted model ({name!r})",
                where=old.name,
                remedy="Take the folder `leaves` of the report of the accepted model's run",
                rule="TRC114",
            )
        runs = leaf_runs(before[name][1], after[tensor.name][1])
        ranges = tuple(elements_of(run, tensor.shape) for run in runs[:SHOWN_RANGES])
        found.append(tensor.model_copy(update={"ranges": ranges}))
    return delta.model_copy(update={"tensors": tuple(found), "located": "leaves"})


def _has_places(tensor: TensorDelta) -> bool:
    """Whether it stands against a tensor of its own type and shape."""
    return tensor.kind in ("changed", "renamed") and tensor.elements is None
