"""Which code of the trusted side a target's lines name. Every key of type ``PythonSpec`` is listed here."""

from __future__ import annotations

from qgate.policy.schema import Target


def python_specs(target: Target) -> dict[str, str]:
    """Role to ``module:function``, for each that the target names; the roles that measurements ask for."""
    found: dict[str, str | None] = {"task": target.task.python if target.task is not None else None}
    if target.factory is not None:
        found["factory.candidate"] = target.factory.candidate
        found["factory.reference"] = target.factory.reference
    return {role: spec for role, spec in found.items() if spec is not None}


def without_code(target: Target) -> dict[str, None]:
    """What takes every such key out of a target: ``target.model_copy(update=without_code(target))``."""
    own = target.task is not None and target.task.python is not None
    return {**({"factory": None} if target.factory is not None else {}), **({"task": None} if own else {})}
