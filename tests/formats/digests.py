"""Files that hold tensors, and what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from qgate.formats.content import ModelContent, model_content
from qgate.formats.read import read_model
from qgate.merkle import content_digest


def raw_tensor(name: str, kind: int, shape: Sequence[int], data: bytes) -> TensorProto:
    return TensorProto(name=name, data_type=kind, dims=shape, raw_data=data)


def file_of(path: Path, *tensors: TensorProto, nodes: Sequence[Any] = (), external: bool = False) -> Path:
    """A model that hands its one input on and holds tensors."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    body = [*nodes, helper.make_node("Identity", ["x"], ["y"])]
    graph = helper.make_graph(body, "g", [x], [y], list(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, path, save_as_external_data=external, location="w.bin", size_threshold=0)
    return path


def content(path: Path, *tensors: TensorProto, **more: Any) -> ModelContent:
    return model_content(read_model(file_of(path, *tensors, **more)))


def of(model: ModelContent) -> str:
    return content_digest(model.graph, model.entries)
