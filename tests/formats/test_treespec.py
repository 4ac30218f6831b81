"""Descriptions of arguments in exported programs: PyTorch imports what some of them name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qgate.formats.code import CodeError
from qgate.formats.torch.treespec import MAX_LEVELS, check_tree_specs

MEMBER = {"__enum__": True, "fqn": "ctypes:cdll", "name": "./x.so"}


def program(context: Any, kind: str = "builtins.dict") -> dict[str, Any]:
    spec = json.dumps([1, {"type": kind, "context": json.dumps(context), "children_spec": []}])
    return {"module_call_graph": [{"fqn": "", "signature": {"in_spec": spec, "out_spec": "*"}}]}


def nested(levels: int) -> str:
    text = json.dumps(MEMBER)
    for _ in range(levels):
        text = json.dumps([text])
    return text


@pytest.mark.parametrize(
    "context",
    [
        None,
        [],
        ["images", "mask"],
        ["a key with { in it"],
        {"class_name": "Outputs", "fields": ["a", "b"]},
        {"default_factory_module": "builtins", "default_factory_name": "list", "dict_context": ["a"]},
    ],
)
def test_how_arguments_nest_is_data(context: Any) -> None:
    check_tree_specs(program(context), "model.pt2")


@pytest.mark.parametrize(
    "context",
    [
        [MEMBER],
        {"dict_context": [MEMBER]},
        [json.dumps(MEMBER)],
        {"default_factory_module": "os", "default_factory_name": "system", "dict_context": []},
        {"default_factory_module": "builtins", "default_factory_name": "eval", "dict_context": []},
        {"default_factory_module": ["os"], "default_factory_name": "list", "dict_context": []},
        nested(MAX_LEVELS + 2),
    ],
)
def test_what_a_loader_would_import_is_refused(context: Any) -> None:
    with pytest.raises(CodeError, match="would import"):
        check_tree_specs(program(context), "model.pt2")


def test_a_specification_that_is_too_deep_is_refused() -> None:
    deep = {"out_spec": "[" * 100_000 + "{" + "]" * 100_000}
    with pytest.raises(CodeError, match="would import"):
        check_tree_specs(deep, "model.pt2")
