"""Which operators of exported programs are PyTorch's own, and which of them reach outside of the program."""

from __future__ import annotations

import re

_TARGET = re.compile(
    r"torch\.ops\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)(?:\.([A-Za-z_][A-Za-z0-9_]*))?"
)
NAMESPACES = {"aten", "prims", "quantized_decomposed", "torchao", "pt2e_quant", "quant"}
HIGHER_ORDER = {"cond", "while_loop", "map_impl", "scan", "wrap_with_set_grad_enabled", "wrap_with_autocast"}
_SYMBOLIC = {
    *(f"_operator.{n}" for n in ("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos")),
    *(f"_operator.{n}" for n in ("gt", "ge", "lt", "le", "eq", "ne", "and_", "or_", "not_")),
    *(f"math.{n}" for n in ("ceil", "floor", "trunc")), "builtins.round",
    *(f"torch.sym_{n}" for n in ("max", "min", "not", "ite", "float", "int", "sum")), "torch._sym_sqrt",
}  # fmt: skip
# They read or write files that the program names.
_OUTSIDE = {"from_file", "save", "load", "_save", "_load"}


def why_unknown(target: str) -> str:
    """Why an operator is not let through; empty if it is."""
    if target in _SYMBOLIC:
        return ""
    found = _TARGET.fullmatch(target)
    if found is None:
        return "it is no operator of PyTorch"
    namespace, name, _ = found.groups()
    if namespace == "higher_order":
        return "" if name in HIGHER_ORDER else "it is a higher-order operator that is not followed"
    if namespace not in NAMESPACES:
        return f"the namespace {namespace!r} is none of PyTorch's own"
    return "it reads or writes files" if name in _OUTSIDE else ""


def policy_name(target: str) -> str:
    """An operator as a policy's ``allow_ops`` names it: ``namespace::name``, overloads together."""
    found = _TARGET.fullmatch(target)
    return f"{found[1]}::{found[2]}" if found is not None else f"torch::{target.replace('.', '_')}"
