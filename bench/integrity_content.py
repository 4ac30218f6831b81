"""Content digests: one content whatever the file, every changed element located, speed, size.

A rewrite holds the same model in another file; it counts where the digest is the same. A change is one bit of one
tensor's stored bytes; it is found where the digest differs and exactly that tensor is named, located by roots and
leaves where the leaf's range holds the element, and by both models where the element itself is named.
``python bench/integrity_content.py [SCALE]`` prints the rows by themselves.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent))
from content_changes import EXAMPLES, change, honest
from integrity_rows import Row

from qgate.formats.content import ModelContent, model_content
from qgate.formats.read import read_model
from qgate.merkle import (
    TensorId,
    content_digest,
    entry_text,
    parse_entry,
)
from qgate.report.schema import Content

MODELS = (
    "digits/digits_int8_pc", "digits/digits_int8_qop", "digits/digits_w4a8", "digits/digits_fp16", "digits/digits_dyn",
    "crepe_tiny/ort_qdq_pc", "mtcnn_rnet/nncf_int8", "ppocr_cls/quark_a8w8", "silero/silero_vad_openvino_16k",
)  # fmt: skip
BITS = 10_000


def run(scale: float) -> Iterator[Row]:
    """The rows of this section."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield _rewrites(folder)
        yield from _changes(random.Random(3), max(1, int(BITS * scale)))
        yield from _speed(folder, max(16, int(256 * scale)))
        yield _size()


def _content(proto: onnx.ModelProto, path: Path, **how: object) -> ModelContent:
    onnx.save(proto, path, **how)
    return model_content(read_model(path))


def _digest(content: ModelContent) -> str:
    return content_digest(content.graph, content.entries)


def _rewrites(folder: Path) -> Row:
    kinds: dict[str, Callable[[onnx.ModelProto], None]] = {
        "initializers reversed": _reversed_initializers,
        "typed fields": _typed_fields,
        "Constant nodes": _constant_nodes,
        "nodes and inner tensors renamed": _renamed,
        "producer and documentation": _documented,
    }
    same, misses = 0, []
    for model in MODELS:
        path = EXAMPLES / f"{model}.onnx"
        honest = _digest(model_content(read_model(path)))
        for kind, rewrite in kinds.items():
            proto = onnx.load(path)
            rewrite(proto)
            if _digest(_content(proto, folder / "m.onnx")) == honest:
                same += 1
            else:
                misses.append(f"{model}: {kind}")
        side = {"save_as_external_data": True, "location": "m.bin", "size_threshold": 0}
        (folder / "m.bin").unlink(missing_ok=True)
        if _digest(_content(onnx.load(path), folder / "m.onnx", **side)) == honest:
            same += 1
        else:
            misses.append(f"{model}: external data")
    asked = len(MODELS) * (len(kinds) + 1)
    return Row(
        "the same model in another file: same digest",
        f"{same} of {asked}",
        "all",
        same == asked,
        misses=tuple(misses),
    )


def _reversed_initializers(proto: onnx.ModelProto) -> None:
    held = list(proto.graph.initializer)[::-1]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(held)


def _typed_fields(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.FLOAT and values.size and np.isfinite(values).all():
            tensor.ClearField("raw_data")
            del tensor.float_data[:]
            tensor.float_data.extend(values.reshape(-1).tolist())
        elif tensor.data_type in (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32) and values.size:
            tensor.ClearField("raw_data")
            del tensor.int32_data[:]
            tensor.int32_data.extend(values.reshape(-1).astype(np.int32).tolist())


def _constant_nodes(proto: onnx.ModelProto) -> None:
    held = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in held]
    body = [*nodes, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(body)


def _renamed(proto: onnx.ModelProto) -> None:
    graph = proto.graph
    kept = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer} | {""}
    # A subgraph may use a value from around it by its name, which stays.
    kept |= {
        n
        for node in graph.node
        for a in node.attribute
        for inner in (a.g, *a.graphs)
        for x in inner.node
        for n in x.input
    }
    # A Constant node's output names a tensor of the model.
    kept |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    held = any(
        a.type == onnx.AttributeProto.TENSOR
        for n in graph.node
        if n.op_type != "Constant"
        for a in n.attribute
    )
    for position, node in enumerate(graph.node):
        node.name = (
            node.name if held or any(a.HasField("g") for a in node.attribute) else f"renamed {position}"
        )
        for names in (node.input, node.output):
            renamed = [name if name in kept else f"t {name}" for name in names]
            del names[:]
            names.extend(renamed)
    del graph.value_info[:]


def _documented(proto: onnx.ModelProto) -> None:
    proto.producer_name, proto.doc_string = "another", "words"
    proto.metadata_props.add(key="note", value="words")
    for node in proto.graph.node:
        node.doc_string = "words"


def _changes(chance: random.Random, count: int) -> Iterator[Row]:
    models = [model for model in MODELS if honest(model).raw]
    asked = []
    for _ in range(count):
        model = chance.choice(models)
        place = chance.randrange(len(honest(model).raw))
        constant = honest(model).constants[honest(model).raw[place].name]
        asked.append((model, place, chance.randrange(constant.size * constant.bits)))
    with ProcessPoolExecutor() as pool:
        told = list(pool.map(change, asked, chunksize=max(1, min(64, count // 8))))
    misses = tuple(name for name, hits in told if not all(hits))
    for number, what in enumerate(("tensor named by roots alone", "leaf named by leaves", "element named")):
        met = sum(hits[number] for _, hits in told)
        yield Row(f"one bit changed, {what}", f"{met} of {count}", "all", met == count, misses=misses[:20])


def _speed(folder: Path, mebibytes: int) -> Iterator[Row]:
    for kind in (np.float32, np.int8):
        width = np.dtype(kind).itemsize
        values = np.random.default_rng(5).integers(0, 256, (mebibytes, 2**20), dtype=np.uint8).view(kind)
        proto = _holder(numpy_helper.from_array(values, "w"))
        (folder / "speed.bin").unlink(missing_ok=True)
        onnx.save(
            proto, folder / "speed.onnx", save_as_external_data=True, location="speed.bin", size_threshold=0
        )
        model = read_model(folder / "speed.onnx")
        worked = time.process_time()
        taken = min(_seconds(lambda model=model: model_content(model)) for _ in range(2))
        worked = (time.process_time() - worked) / 2
        flat = values.reshape(-1).view(np.uint8)
        copied = min(_seconds(flat.copy) for _ in range(2))
        rate = flat.nbytes / taken / 1e9
        yield Row(
            f"digests of {mebibytes} MiB of {8 * width}-bit values, memory-mapped",
            f"{rate:.2f} GB/s, {flat.nbytes / worked / 1e9:.2f} GB/s of processor time",
            others=(("plain memory copy", f"{flat.nbytes / copied / 1e9:.2f} GB/s"),),
        )


def _holder(tensor: onnx.TensorProto) -> onnx.ModelProto:
    x, y = (onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], [tensor])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)])


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _size() -> Row:
    texts: dict[str, str] = {}
    contents = [model_content(read_model(EXAMPLES / f"{model}.onnx")) for model in MODELS]
    for number, content in enumerate(contents):
        for entry in map(parse_entry, content.entries):
            name = entry.name if entry.name not in texts else f"{entry.name}.{number}"
            texts[name] = entry_text(TensorId(entry.dtype, entry.shape), entry.root, name)
    entries = tuple(texts.values())[:1000]
    size = len(Content(graph="0" * 64, count=len(entries), tensors=entries).model_dump_json(indent=1))
    met = size <= 100_000 and len(entries) == 1000
    return Row(
        f"roots of {len(entries):,} tensors in a baseline", f"{size / 1e3:.0f} kB", "at most 100 kB", met
    )


if __name__ == "__main__":
    for row in run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0):
        print(row.what, "|", row.value, "|", row.goal, "|", row.met, row.others or "", row.misses[:5] or "")
