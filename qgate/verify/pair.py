"""What is verified: one pair, where its bytes come from and what is declared of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from qgate.measure.interface import Interface
    from qgate.measure.preprocessing import Preprocessing
    from qgate.policy.schema import Policy, Target, Waiver
    from qgate.sandbox.limits import Limits
    from qgate.signing.order import SignatureOrder
    from qgate.sources.acquire import Acquired
    from qgate.sources.code import CopiedCode

Acquire = Callable[[Path], "Acquired"]
AcquireCode = Callable[[Path], "CopiedCode"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """One pair to verify.

    Args:
        name: Name of the target.
        candidate: Copies the candidate into a folder; likewise reference and data.
        labels: Array of labels in the data; ``slices`` likewise.
        images: How images of the data become arrays.
        scheme: Declared scheme; ``auto`` must be quantized, somehow.
        derivation: Declared derivation.
        interface: Declared differences of the interface.
        profile: Replaces the policy's profile.
        task: Declared task metric, the output that it scores, and what it is told beside them.
        policy: Where thresholds come from, None for an ad-hoc pair; ``target`` likewise.
        allowed_operators: Operators that the policy adds.
        limits: Resources of the child.
        cost: ``full`` measures time, memory and load time beside the size.
        trust: ``data``, or ``code`` where formats that hold code may be read and run.
        signature: Who must have signed the candidate; None where nobody is asked for.
        sandbox: ``required``, or ``reduced`` where models may run without Landlock or seccomp.
        leaves: Where the leaves of the candidate's content digests go; None for nowhere.
        code: Code of the trusted side by role, copied into a folder; see ``measure.plugin``.
        runtimes: Where the candidate must run, as it is declared.
        deploy: ``avx2`` where it is served by processors that saturate; None where nothing is said.
        needs_reference: Whether a missing reference is an error.
    """

    name: str
    candidate: Acquire
    candidate_locator: str
    reference: Acquire | None = None
    reference_locator: str | None = None
    data: Acquire | None = None
    data_locator: str | None = None
    labels: str | None = None
    slices: str | None = None
    scheme: str = "auto"
    derivation: str = "auto"
    interface: Interface | None = None
    profile: str | None = None
    task: str | None = None
    task_output: str | None = None
    task_options: Mapping[str, float | str] = field(default_factory=dict)
    policy: Policy | None = None
    target: Target | None = None
    waivers: tuple[Waiver, ...] = ()
    allowed_operators: frozenset[str] = frozenset()
    limits: Limits | None = None
    seed: int = 0
    samples: int | None = None
    cost: Literal["size", "full"] = "size"
    proposed: bool = False
    trust: Literal["data", "code"] = "data"
    signature: SignatureOrder | None = None
    sandbox: Literal["required", "reduced"] = "required"
    today: date | None = None
    leaves: Path | None = None
    code: Mapping[str, AcquireCode] = field(default_factory=dict)
    runtimes: tuple[str, ...] = ("onnxruntime",)
    deploy: str | None = None
    images: Preprocessing | None = None
