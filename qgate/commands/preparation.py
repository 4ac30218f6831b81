"""The ``--prepare`` option: how images become arrays, by a name or key by key as in the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.commands.part import number, parse_part
from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.measure.preprocessing import Preprocessing

PRESETS: dict[str, dict[str, Any]] = {
    "imagenet": {
        "size": (224, 224),
        "shorter": 256,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    "clip": {
        "size": (224, 224),
        "shorter": 224,
        "filter": "bicubic",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    },
    "signed": {"mean": (0.5,), "std": (0.5,)},
    "raw": {"scale": 1.0},
}
"""What torchvision's classifiers take, OpenAI's CLIP, values from -1 to 1, and values from 0 to 255."""

_LISTS = ("mean", "std", "classes")
_NUMBERS = ("shorter", "scale")
_WHERE = "--prepare"


def parse_preparation(given: tuple[str, ...]) -> Preprocessing | None:
    """Reads the --prepare options: names of ``PRESETS`` and keys of ``data.images``, the later before the earlier.

    Raises:
        UsageError: One is neither, or they make no preparation.
    """
    if not given:
        return None
    from qgate.measure.preprocessing import Preprocessing
    from qgate.policy.check import check_images
    from qgate.policy.schema import ImagesSpec

    values: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals and name in PRESETS:
            values |= PRESETS[name]
        elif name in ImagesSpec.model_fields and text:
            values[name] = _value(name, text)
        else:
            known = ", ".join(each for each in ImagesSpec.model_fields)
            raise UsageError(
                f"{item!r} is no preparation",
                where=_WHERE,
                remedy=f"Write one of {', '.join(PRESETS)}, or NAME=VALUE with one of {known}",
            )
    if "size" not in values:
        raise UsageError(
            "the size is not given", where=_WHERE, remedy="Add --prepare size=224x224 (height x width)"
        )
    spec = parse_part(
        ImagesSpec,
        values,
        option=_WHERE,
        remedy="See docs/policy.md, `images`",
        check=lambda part: check_images(part, ()),
    )
    return Preprocessing.from_data(spec.model_dump())


def _value(name: str, text: str) -> Any:
    """A value of a key as a policy has it; what is no number stays text, which is refused with the key's name."""
    if name == "size":
        parts = text.lower().split("x")
        return tuple(number(each) for each in (parts * 2 if len(parts) == 1 else parts))
    if name in _LISTS:
        parts = text.split(",")
        return tuple(parts) if name == "classes" else tuple(number(each) for each in parts)
    return number(text) if name in _NUMBERS else text
