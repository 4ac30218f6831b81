"""Which dictionary of a checkpoint is the model's state_dict: asked once, for whoever reads and for whoever runs.

A checkpoint is often a dictionary of several: the model's tensors, an optimizer's, counters. If a reader chose one of
them and a runner another, a file could show honest tensors and run others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from qgate.errors import FormatError
from qgate.formats.torch.values import Tensor, Wrapped

HOLDERS = ("state_dict", "model_state_dict", "model", "module", "net", "ema", "params")
"""Keys that state_dicts are saved under; of several the first counts."""


def state_key(value: Any, where: str) -> str | None:
    """The key that the state_dict lies under; empty where the whole value is one, None where there is none.

    A state_dict has words as keys and tensors among its values. One under a key of ``HOLDERS`` goes before the value
    itself, and that before one under a key of another name, which must be the only one.

    Args:
        value: What the checkpoint's pickle stands for.
        where: The file, for messages.

    Raises:
        FormatError: Something outside of it has a name like what is inside.
    """
    if not isinstance(value, dict):
        return None
    named = [key for key in HOLDERS if _is_state(value.get(key))]
    if not named and _is_state(value):
        return ""
    found = named or [key for key, entry in value.items() if _is_state(entry)]
    if not named and (len(found) != 1 or type(found[0]) is not str or not found[0] or "." in found[0]):
        return None
    key = str(found[0])
    for other in value:
        # Names are joined by dots, so that "model.x" beside "model" would pass for x in it.
        if other != key and f"{other}.".startswith(f"{key}."):
            raise FormatError(
                f"the entry {str(other)[:64]!r} beside the dictionary {key!r} has a name as if it lay in it",
                where=where, remedy="Save the model's state_dict alone", rule="ART105", tensor=str(other)[:64],
            )  # fmt: skip
    return key


def state_record(key: str, names: Iterable[str]) -> str:
    """Which dictionary it is and what keys it has, in one line: equal for equal ones alone.

    Args:
        key: See ``state_key``.
        names: Every key of the dictionary, with tensors or not.
    """
    held = sorted(names)
    digest = hashlib.sha256(json.dumps([key, held]).encode()).hexdigest()
    return f"{len(held)} {digest}"


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(type(key) is str for key in value)
        and any(type(entry) in (Tensor, Wrapped) for entry in value.values())
    )
