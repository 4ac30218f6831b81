"""ART: does the file hold anything that the model does not use?"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Place, Severity
from qgate.rules.base import Param, RuleContext, rule


def _unread_bytes(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.unread_bytes"):
        if found.number <= context.limit("quiet_bytes"):
            continue
        held = [(str(name), int(size)) for name, size in found.detail.get("tensors", ())]
        shown = ", ".join(f"{name!r} ({size:,} bytes)" for name, size in held[:3])
        much = not found.number <= context.limit("max_bytes")
        yield context.finding(
            f"{found.n} constants of together {found.number:,.0f} bytes are read by no operation that an output needs, and "
            f"the reference does not leave them: {shown}{', ...' if len(held) > 3 else ''}",
            at=Place(tensor=held[0][0]) if held else found.at,
            evidence={"bytes": found.value, **found.detail},
            severity=Severity.ERROR if much else None,
        )


def _unread_nodes(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.unread_nodes"):
        if found.number <= context.limit("max_nodes"):
            continue
        nodes = [
            f"{op} {name!r}"
            for op, name in zip(*(found.detail.get(k, ()) for k in ("operators", "nodes")), strict=False)
        ]
        yield context.finding(
            f"{found.number:.0f} operations lead to no output, and are not the reference's: {', '.join(nodes[:3])}"
            f"{', ...' if found.number > 3 else ''}",
            at=Place(node=str(found.detail["nodes"][0])) if found.detail.get("nodes") else found.at,
            evidence={"nodes": found.value, **found.detail},
        )


def _beside(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("artifact.beside_bytes"):
        held = [str(name) for name, _ in found.detail.get("tensors", ())]
        second = found.at.file == "candidate" and found.detail.get("rivals", 0) != 0
        many = f"{found.n} tensors" if found.n != 1 else "1 tensor"
        shown = f"{', '.join(map(repr, held[:3]))}{', ...' if len(held) > 3 else ''}"
        beside = f"beside the {found.at.file}'s dictionary {str(found.detail.get('dictionary', ''))!r}"
        yield context.finding(
            f"{many} of {found.number:,.0f} bytes {beside} have the names of tensors in it: the file holds a second model, "
            f"which was not judged ({shown})"
            if second
            else f"{many} of {found.number:,.0f} bytes {beside} were not read: they are no part of the model that is run "
            f"({shown})",
            at=Place(file=found.at.file, tensor=held[0]) if held else found.at,
            evidence={"bytes": found.value, **found.detail},
            severity=Severity.ERROR if second else Severity.NOTE,
            remedy="Save the model's state_dict alone",
        )


def _unread(context: RuleContext) -> Iterator[Finding]:
    yield from _beside(context)
    yield from _unread_bytes(context)
    yield from _unread_nodes(context)


RULES = (
    rule(
        "ART118",
        "The file holds nothing that is not used",
        why="What nothing reads changes no output and no test: it is the place to carry something in that is no part of "
        "the model, or to switch in later with a change of one name.",
        how="Constants and operations, of bodies too, that no output depends on; those that the reference leaves unread "
        "with the same values do not count. Exporters leave a few bytes. Of a checkpoint, tensors beside the dictionary that "
        "is run: a note, and an error where they have the names of tensors in it, for that is a second model.",
        remedy="Remove unused initializers and nodes before saving, for example with onnxslim",
        params=(
            Param(
                "quiet_bytes",
                "Bytes of unread constants that are not worth a word.",
                256,
                1024,
                65536,
                unit="bytes",
            ),
            Param(
                "max_bytes",
                "Bytes from which on it is an error whatever the severity.",
                256,
                65536,
                1 << 24,
                unit="bytes",
            ),
            Param("max_nodes", "Operations without use, constants and copies of names aside.", 0, 0, 16),
        ),
        severity=("error", "warning", "note"),
        check=_unread,
    ),
)
