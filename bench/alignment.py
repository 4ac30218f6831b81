"""How much of a candidate is aligned with its reference, and whether each layer is the right one.

``python bench/alignment.py [--work FOLDER] [--peers-python PYTHON] [--only REGEX] [--no-large] [--docs]``. Every pair of the
examples, and larger models in every scheme, as they are; with every tensor and node of the candidate renamed; with the
reference run through onnxslim or through onnxruntime's basic optimisation, with and without renaming; and with the
reference as it was exported. ``--docs`` writes the table into ``docs/evaluation.md``.

A layer is right where a name in the file says so: the quantizers keep the names of nodes and tensors and add known
suffixes, and renaming is undone by the list of old names before that is looked up.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from alignment_files import Pair, examples, optimised, packaged, renamed, slimmed
from evaluate import write_between
from layers_peers import ONNXSLIM, environment

from qgate.align.fingerprint import match_by_values
from qgate.align.walk import align
from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.quant.alignment import Alignment
from qgate.quant.build import float_view
from qgate.quant.floatgraph import FloatGraph, FloatNode

DOCS = Path(__file__).resolve().parents[1] / "docs" / "evaluation.md"
COMPUTE = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"}
AS_IS = "as they are"
VARIANTS = (
    AS_IS,
    "candidate renamed",
    "reference slimmed",
    "reference slimmed, candidate renamed",
    "reference optimised",
    "reference optimised, candidate renamed",
    "reference as exported",
)
SUFFIX = re.compile(
    r"(_quantized|_quant|_QuantizeLinear(_Output|_Input)?|_DequantizeLinear(_Output|_Input)?|_DQ_Q\d+|_Q\d+G?\d*|_fq\w*"
    r"|_output_quantized|_MatMul|_Add|_bias_add|_output_0|_fp16|_quantize|_scaled_output|_kn|_Gemm|:0)$"
)


@dataclass(frozen=True)
class Coverage:
    """How much is aligned.

    Args:
        nodes: Compute nodes of the reference; ``matched`` those with a counterpart.
        macs: Share of their multiplications, or of their parameters where shapes are not known.
        told: Matched layers that names can judge, ``right`` those that are the right one.
        tensors: Quantized tensors that names can judge, ``exact`` those aligned with the very tensor.
    """

    nodes: int
    matched: int
    macs: float
    told: int
    right: int
    tensors: int
    exact: int
    failed: str = ""


def coverage(reference: Path, candidate: Path, old: Mapping[str, str] | None = None) -> Coverage:
    """Aligns two files as ``qgate verify`` does, and counts.

    Args:
        reference: The float model.
        candidate: The quantized model.
        old: The candidate's old names by the new ones, where it was renamed.
    """
    back = old or {}
    try:
        models = [read_model(path) for path in (reference, candidate)]
        norms = [sum(n.op == "BatchNormalization" for n in model.graph.nodes) for model in models]
        ours, theirs = (float_view(model, fold_norms=norms[0] != norms[1]) for model in models)
    except FormatError as error:
        return Coverage(0, 0, math.nan, 0, 0, 0, 0, failed=error.what)
    names = [each.name for each in models[0].graph.outputs], [each.name for each in models[1].graph.outputs]
    known = dict(zip(*names, strict=False)) if set(names[0]) != set(names[1]) else {}
    alignment = align(ours, theirs, known, {})
    match_by_values(alignment, ours, theirs)
    compute = [node for node in ours.all_nodes() if node.op in COMPUTE]
    pairs = list(_pairs(alignment))
    found = {id(one) for one, _ in pairs}
    matched = [node for node in compute if id(node) in found]
    cost = _macs(reference, compute, ours)
    share = sum(cost.get(id(n), 0) for n in matched) / sum(cost.values()) if cost else math.nan
    told = [right for one, two in pairs if (right := _right(one, two, ours, theirs, back)) is not None]
    exact = list(_exact(alignment, ours, theirs, back))
    return Coverage(len(compute), len(matched), share, len(told), sum(told), len(exact), sum(exact))


def _pairs(alignment: Alignment) -> Iterator[tuple[FloatNode, FloatNode]]:
    """Compute nodes that stand for each other: by the walk, or by their weights."""
    seen = set()
    held = [(p.reference_node, p.candidate_node) for p in alignment.constants if p.role == "weight"]
    for one, two in (*alignment.nodes, *alignment.inner, *held):
        if one.op in COMPUTE and id(one) not in seen:
            seen.add(id(one))
            yield one, two


def stem(name: str) -> str:
    """A name without what quantizers and exporters add to it."""
    while (shorter := SUFFIX.sub("", name)) != name and shorter:
        name = shorter
    return name


def _words(node: FloatNode, graph: FloatGraph, back: Mapping[str, str]) -> set[str]:
    """What an operation, its outputs and its weights are called."""
    names = [node.label, node.node.name, *node.outputs, *node.node.outputs, *node.stages.values()]
    names += [graph.constants[name].name for name in node.inputs if name in graph.constants]
    return {stem(back.get(name, name)) for name in names if name}


def _right(
    one: FloatNode, two: FloatNode, ours: FloatGraph, theirs: FloatGraph, back: Mapping[str, str]
) -> bool | None:
    """Whether names say that two operations are one; None where the candidate's names are nowhere in the reference."""
    words = _words(two, theirs, back)
    if words & _words(one, ours, {}):
        return True
    elsewhere = any(
        words & _words(node, ours, {}) for node in ours.all_nodes() if node.op in COMPUTE and node is not one
    )
    return False if elsewhere else None


def _exact(
    alignment: Alignment, ours: FloatGraph, theirs: FloatGraph, back: Mapping[str, str]
) -> Iterator[bool]:
    """Of each quantized tensor whose name the reference has: whether it is aligned with the tensor of that name."""
    made = {name for node in ours.nodes for name in node.outputs} | {t.name for t in ours.inputs}
    made |= {stage for node in ours.nodes for stage in node.stages.values()}
    for tensor, quantizers in theirs.quantizers.items():
        for quantizer in quantizers:
            name = back.get(quantizer.source, quantizer.source)
            if name in made:
                yield (alignment.tensors.get(quantizer.source) or alignment.tensors.get(tensor)) == name


def _macs(path: Path, compute: list[FloatNode], graph: FloatGraph) -> dict[int, float]:
    """Multiplications of each operation for one sample; its parameters where a shape cannot be inferred."""
    model = onnx.load(path)
    for given in (*model.graph.input, *model.graph.output):
        for at, dim in enumerate(given.type.tensor_type.shape.dim):
            if not dim.dim_value:
                dim.dim_value = 1 if at == 0 else 0
                if at:
                    dim.ClearField("dim_value")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        return {id(n): float(_parameters(n, graph)) for n in compute}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    cost = {}
    for node in compute:
        weight = next((graph.constants[n].shape for n in node.inputs[1:2] if n in graph.constants), None)
        output = shapes.get(node.node.outputs[0]) or []
        if weight is None:
            inner = (shapes.get(node.node.inputs[0]) or [0])[-1]
        elif node.op.startswith("Conv"):
            inner = math.prod(weight[1:])
        else:
            inner = math.prod(weight) // max(1, output[-1] if output else 1)
        each = math.prod(output) * inner
        if each <= 0:
            return {id(n): float(_parameters(n, graph)) for n in compute}
        cost[id(node)] = float(each)
    return cost


def _parameters(node: FloatNode, graph: FloatGraph) -> int:
    return sum(math.prod(graph.constants[name].shape) for name in node.inputs if name in graph.constants)


def variants(pair: Pair, folder: Path, python: Path | None) -> Iterator[tuple[str, Coverage]]:
    """The coverage of a pair, as it is and rewritten."""
    other = folder / "renamed.onnx"
    old = renamed(pair.candidate, other)
    yield AS_IS, coverage(pair.reference, pair.candidate)
    yield "candidate renamed", coverage(pair.reference, other, old)
    slim, basic = folder / "slim.onnx", folder / "basic.onnx"
    made = {"optimised": (basic, optimised(pair.reference, basic))}
    if python is not None:
        made = {"slimmed": (slim, slimmed(pair.reference, slim, python)), **made}
    for name, (path, why) in made.items():
        for candidate, names, more in ((pair.candidate, None, ""), (other, old, ", candidate renamed")):
            found = (
                Coverage(0, 0, math.nan, 0, 0, 0, 0, failed=why) if why else coverage(path, candidate, names)
            )
            yield f"reference {name}{more}", found
    if pair.raw is not None:
        yield "reference as exported", coverage(pair.raw, pair.candidate)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}".rstrip("0").rstrip(".") if whole else "-"


def summary(found: Mapping[str, Mapping[str, Coverage]], pairs: list[Pair]) -> str:
    """By scheme and rewriting: shares over all pairs together."""
    lines = [
        "| scheme | pairs | rewriting | compute nodes aligned % | MACs or parameters %, worst pair | right layer % "
        "| exact tensor % |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for scheme in dict.fromkeys(pair.scheme for pair in pairs):
        names = [pair.name for pair in pairs if pair.scheme == scheme]
        for variant in VARIANTS:
            held = [found[name][variant] for name in names if variant in found[name]]
            held = [each for each in held if not each.failed]
            if not held:
                continue
            macs = [each.macs for each in held if each.macs == each.macs]
            total = {key: sum(getattr(each, key) for each in held) for key in Coverage.__dataclass_fields__ if key not in
                     ("macs", "failed")}  # fmt: skip
            lines.append(
                f"| {scheme} | {len(held)} | {variant} | {_percent(total['matched'], total['nodes'])} | "
                f"{f'{100 * min(macs):.1f}' if macs else '-'} | {_percent(total['right'], total['told'])} | "
                f"{_percent(total['exact'], total['tensors'])} |"
            )
    return "\n".join(lines)


def short(found: Mapping[str, Mapping[str, Coverage]]) -> str:
    """Every pair that is not wholly aligned, with what is missing."""
    lines = []
    for name, by_variant in found.items():
        for variant, each in by_variant.items():
            if each.failed:
                lines.append(f"- {name}, {variant}: {each.failed}")
            elif each.matched < each.nodes or each.right < each.told:
                lines.append(
                    f"- {name}, {variant}: {each.matched} of {each.nodes} compute nodes aligned, "
                    f"{each.told - each.right} of {each.told} with another layer"
                )
    return (
        "\n".join(["Not wholly aligned, or not with the right layer:", "", *lines])
        if lines
        else "Nothing is missing."
    )


def main() -> int:
    """Prints both lists, and writes them where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder that keeps downloaded and quantized models")
    parser.add_argument("--peers-python", type=Path, help="a Python that has onnxslim; else one is installed")
    parser.add_argument("--only", default="", help="regular expression that names of pairs must match")
    parser.add_argument("--no-large", action="store_true", help="the examples alone")
    parser.add_argument("--docs", action="store_true", help="write docs/evaluation.md")
    options = parser.parse_args()
    found: dict[str, dict[str, Coverage]] = {}
    with tempfile.TemporaryDirectory(prefix="alignment-") as scratch:
        folder = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        python = options.peers_python or environment(folder, ONNXSLIM)
        pairs = [*examples(), *(() if options.no_large else packaged(folder))]
        pairs = [pair for pair in pairs if re.search(options.only, pair.name)]
        for pair in pairs:
            with tempfile.TemporaryDirectory(prefix="alignment-") as own:
                found[pair.name] = dict(variants(pair, Path(own), python))
            said = ", ".join(
                f"{v}: {c.failed or f'{c.matched}/{c.nodes} {c.right}/{c.told} {c.exact}/{c.tensors} {c.macs:.3f}'}"
                for v, c in found[pair.name].items()
            )
            print(f"{pair.name} ({pair.scheme}): {said}", flush=True)
    text = f"{summary(found, pairs)}\n\n{short(found)}\n\n{len(pairs)} pairs, {ONNXSLIM}."
    print(text)
    if options.docs:
        write_between(DOCS, "alignment", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
