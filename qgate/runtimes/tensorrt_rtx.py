"""NVIDIA's own ONNX parser and engine builder, from TensorRT-RTX: they run on a CPU, and run no model.

What they refuse, TensorRT refuses; what they accept may still compute something else (see ``quant.deploy.tensorrt``).
An engine is never loaded: that needs a driver, and an engine is code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from qgate.runtimes.tensorrt_network import create_network, fix_sizes, logger_into
from qgate.sandbox.quoting import one_line

MOST_ERRORS = 32
_TEXT = 400


@dataclass(frozen=True)
class ParserError:
    """What the parser says of one node.

    Args:
        code: NVIDIA's name of the error, for example ``UNSUPPORTED_NODE``.
        operator: The node's operator; ``node`` its name. Empty where the parser names none.
        what: NVIDIA's words, on one line.
    """

    code: str
    operator: str
    node: str
    what: str


@dataclass(frozen=True)
class Judgement:
    """What parser and builder say of a model.

    Args:
        version: Version of TensorRT-RTX.
        errors: What the parser refuses; empty where it takes the model.
        built: Whether an engine was built; None where that was not tried.
        build_errors: What the builder said, where it refused.
        engine_bytes: Size of the engine.
        unprofiled: Inputs whose sizes are free and of which none is known, so that no engine was built.
    """

    version: str
    errors: tuple[ParserError, ...] = ()
    built: bool | None = None
    build_errors: tuple[str, ...] = ()
    engine_bytes: int = 0
    unprofiled: tuple[str, ...] = ()


def import_library() -> Any:
    """Imports TensorRT-RTX; no thread is started by that."""
    return import_module("tensorrt_rtx")


def judge(path: Path, shapes: Mapping[str, tuple[int, ...]], *, workspace_mb: int = 1024) -> Judgement:
    """Parses a model and builds an engine of it, which is thrown away.

    Args:
        path: An ONNX model; side files are looked for beside it.
        shapes: A shape that occurs, for inputs whose sizes are free: the profile asks for it and no other.
        workspace_mb: Memory that the builder may plan for intermediate results, MiB.
    """
    library = import_library()
    words: list[str] = []
    logger = logger_into(library, words)
    builder = library.Builder(logger)
    network = create_network(library, builder)
    parser = library.OnnxParser(network, logger)
    version = str(library.__version__)
    if not parser.parse_from_file(str(path)):
        found = tuple(_error(parser.get_error(i)) for i in range(min(parser.num_errors, MOST_ERRORS)))
        return Judgement(version, found or (ParserError("UNKNOWN", "", "", "the parser gives no reason"),))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    unknown = fix_sizes(builder, config, network, shapes)
    if unknown:
        return Judgement(version, unprofiled=unknown)
    words.clear()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return Judgement(
            version, built=False, build_errors=tuple(words[:4]) or ("the builder gives no reason",)
        )
    return Judgement(version, built=True, engine_bytes=int(engine.nbytes))


def _error(error: Any) -> ParserError:
    code = str(error.code()).rpartition(".")[2]
    operator, node = one_line(error.node_operator() or "", 120), one_line(error.node_name() or "", 300)
    # Without a driver every message ends with a complaint about that.
    what = str(error.desc() or "").partition("[checkMacros.cpp::catchCudaError")[0]
    return ParserError(one_line(code, 60), operator, node, one_line(what, _TEXT))
