"""What is asked of the exporting child, as data. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from qgate.measure.plugin import Plugin

ONNX, REASON = b"O", b"E"
"""First byte of the child's answer: a model follows, or why there is none."""


Recipe = Literal["", "unrounded", "symmetric"]
"""What an export is rewritten as, see ``recipe``."""


@dataclass(frozen=True)
class ExportOrder:
    """One model to export, or one export to rewrite.

    Args:
        model: Its private copy.
        form: Its format.
        opset: Version of the operator set.
        torchao: Its tensors or operations are torchao's.
        code: ``factory.candidate`` of a checkpoint.
        recipe: What the model, which is an export then, is rewritten as; empty exports it.
        ranges: Narrower ranges of its activations, see ``recipe.symmetric``.
    """

    model: Path
    form: str
    opset: int
    torchao: bool = False
    code: Mapping[str, Plugin] = field(default_factory=dict)
    recipe: Recipe = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def dynamo(self) -> bool:
        """Whether it is an exported program, which the dynamo exporter takes; modules of codes go by the legacy one."""
        return self.form == "torch-export"

    def to_json(self) -> str:
        """As the child reads it."""
        raw = asdict(self) | {"model": str(self.model.absolute())}
        raw["code"] = {role: plugin.to_data() for role, plugin in self.code.items()}
        return json.dumps(raw)

    @classmethod
    def from_json(cls, text: str) -> ExportOrder:
        """The inverse of ``to_json``; the text comes from the parent and is trusted."""
        raw: dict[str, Any] = json.loads(text)
        raw["model"] = Path(raw["model"])
        raw["code"] = {role: Plugin.from_data(each) for role, each in raw["code"].items()}
        raw["ranges"] = {name: (float(low), float(high)) for name, (low, high) in raw["ranges"].items()}
        return cls(**raw)
