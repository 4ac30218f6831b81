"""What the child could engage of its confinement, said before it reads a hostile byte."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from qgate.errors import SandboxError

REDUCIBLE = frozenset({"landlock", "seccomp"})
"""Steps that a policy may do without; all others are needed for the least of promises."""

LEFT_OUT = errno.ENOTTY
"""Stands for a step that was left out so that a device can be reached; no kernel answers so."""

_LINE = re.compile(rb"confined (\d{1,10}) (\d{1,3}) ([01]) (-|[a-z]{1,12}:\d{1,4}(?:,[a-z]{1,12}:\d{1,4})?)")
_NAMES = {
    "limits": "limits on memory, time and files",
    "user": "the change to an unprivileged user",
    "privileges": "giving up privileges",
    "parent": "the tie to the process that started it",
    "threads": "being one thread when it is confined",
    "descriptors": "closing what is open",
    "landlock": "Landlock",
    "seccomp": "the filter of system calls (seccomp)",
}
_REMEDIES = {
    "landlock": "Run on a kernel from 5.13 on with Landlock enabled, not in an emulated or user-space kernel",
    "seccomp": "Run on x86-64 or arm64 Linux whose kernel and container permit seccomp filters",
    "threads": "Report this with the versions of the installed packages",
    "user": "Run as a user who is not root, or where root may become user 65534",
}
_REDUCED = (
    ", or accept less with `sandbox: reduced` in the base branch's policy (one pair: --sandbox reduced)"
)


@dataclass(frozen=True)
class Engaged:
    """What is in force in a child.

    Args:
        user: Who it runs as.
        landlock: Version of Landlock in force; 0 where it is not.
        seccomp: Whether the filter of system calls is in force.
        lacking: Steps that could not be engaged, with the kernel's error number.
    """

    user: int
    landlock: int = 0
    seccomp: bool = False
    lacking: Mapping[str, int] = field(default_factory=dict)

    def line(self) -> bytes:
        """As the child says it."""
        lacking = ",".join(f"{step}:{number}" for step, number in self.lacking.items()) or "-"
        return f"confined {self.user} {self.landlock} {int(self.seccomp)} {lacking}".encode()

    @classmethod
    def read(cls, line: bytes) -> Engaged | None:
        """The inverse of ``line``; None where it is no such line, or contradicts itself."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        named = [] if found[4] == b"-" else [part.split(":") for part in found[4].decode().split(",")]
        lacking = {step: int(number) for step, number in named}
        engaged = cls(int(found[1]), int(found[2]), found[3] == b"1", lacking)
        whole = bool(engaged.landlock) and engaged.seccomp
        known = set(lacking) <= set(_NAMES) and len(lacking) == len(named)
        return engaged if known and whole != bool(lacking) else None

    def suffices(self, reduced: bool) -> bool:
        """Whether a model may be run."""
        return not self.lacking or (reduced and set(self.lacking) <= REDUCIBLE)

    def reasons(self) -> dict[str, str]:
        """What is lacking in words, by step: what it is, and why."""
        return {step: f"{_NAMES[step]} ({_why(step, number)})" for step, number in self.lacking.items()}

    def refusal(self, where: str) -> SandboxError:
        """The error for a child that must not run a model."""
        decisive = next((step for step in self.lacking if step not in REDUCIBLE), next(iter(self.lacking)))
        remedy = _REMEDIES.get(decisive, "Run qgate where the kernel and the container permit it")
        return SandboxError(
            f"the sandbox cannot be engaged, so no model was run: {'; '.join(self.reasons().values())}",
            where=where,
            remedy=remedy + (_REDUCED if set(self.lacking) <= REDUCIBLE else ""),
        )


def _why(step: str, number: int) -> str:
    if step == "threads":
        return "a library has started others"
    if number == LEFT_OUT:
        return "left out, so that the GPU can be reached"
    if number == 0:
        return "the kernel does not do what it says"
    if number == errno.ENOSYS:
        return "this kernel or machine does not have it"
    if number == errno.EOPNOTSUPP:
        return "it is switched off in this kernel"
    return os.strerror(number)
