"""Functions of numpy, torch and what comes with them that run code; torch is trusted by many a scanner."""

from __future__ import annotations

from tests.corpus.hostile.case import Target
from tests.corpus.hostile.gadgets import SYSTEM, Value, attribute, helper, method, module, nested
from tests.corpus.hostile.opcodes import Call, Global, call


def nested_file(t: Target) -> str:
    """A second pickle beside the first."""
    (t.folder / "second.bin").write_bytes(nested(t))
    return str(t.folder / "second.bin")


LIBRARIES: dict[str, Value] = {
    "numpy-runstring": lambda t: call("numpy.testing._private.utils:runstring", t.code, {}),
    "numpy-measure": lambda t: call("numpy.testing._private.utils:measure", t.code, 1),
    "numpy-rundocs": lambda t: call("numpy.testing._private.utils:rundocs", helper(t)),
    "numpy-f2py-myeval": lambda t: call("numpy.f2py.crackfortran:myeval", f"[{t.code}, 1][1]"),
    "numpy-f2py-param-eval": lambda t: call("numpy.f2py.crackfortran:param_eval", t.code, {}, {}, None),
    "numpy-f2py-getlincoef": lambda t: call("numpy.f2py.crackfortran:getlincoef", t.code, {"x": 1}),
    "numpy-vectorize": lambda t: Call(call("numpy:vectorize", SYSTEM), (t.shell,)),
    "numpy-frompyfunc": lambda t: Call(call("numpy:frompyfunc", SYSTEM, 1, 1), (t.shell,)),
    "numpy-fromiter": lambda t: call("numpy:fromiter", call("builtins:map", SYSTEM, [t.shell]), "i8"),
    "numpy-load": lambda t: call("numpy:load", nested_file(t), None, True),
    "numpy-ctypeslib": lambda t: method(
        attribute(attribute(module("numpy.ctypeslib"), "ctypes"), "pythonapi"),
        "PyRun_SimpleString",
        t.code.encode(),
    ),
    "torch-load-from-bytes": lambda t: call("torch.storage:_load_from_bytes", checkpoint_bytes(t)),
    "torch-load": lambda t: call("torch:load", nested_file(t), None, module("pickle")),
    "torch-legacy-load": lambda t: call(
        "torch.serialization:_legacy_load", call("io:BytesIO", checkpoint_bytes(t)), None, module("pickle")
    ),
    "torch-exec-wrapper": lambda t: call("torch.jit.unsupported_tensor_ops:execWrapper", t.code, {}, {}),
    "torch-collect-env": lambda t: call("torch.utils.collect_env:run", t.shell),
    "torch-collect-env-lambda": lambda t: call(
        "torch.utils.collect_env:run_and_read_all", Global("torch.utils.collect_env", "run"), t.shell
    ),
    "torch-fx-exec": lambda t: call("torch.fx.graph_module:_exec_with_source", t.code, {}),
    "torch-fx-reduce": lambda t: call(
        "torch.fx.graph_module:reduce_graph_module", {"_code": t.code + "\ndef forward(self): pass"}, ""
    ),
    "torch-hub-import": lambda t: call("torch.hub:_import_module", "helper", helper(t)),
    "torch-hub-load-local": lambda t: call("torch.hub:_load_local", hub(t), "entry"),
    "torch-inductor-pycode": lambda t: call("torch._inductor.codecache:PyCodeCache.load", t.code),
    "torch-inductor-reload": lambda t: call(
        "torch._inductor.runtime.compile_tasks:_reload_python_module", "k", helper(t), False
    ),
    "torch-benchmark": lambda t: method(call("torch.utils.benchmark:Timer", t.code), "timeit", 1),
    "torch-shape-env": lambda t: method(
        call("torch.fx.experimental.symbolic_shapes:ShapeEnv"), "evaluate_guards_expression", t.code, ()
    ),
    "torch-decoder": lambda t: call(
        "torch.utils.data.datapipes.utils.decoder:basichandlers", "pickle", nested(t)
    ),
    "torch-tree-map": lambda t: call("torch.utils._pytree:tree_map", SYSTEM, [t.shell]),
    "torch-checkpoint": lambda t: call("torch.utils.checkpoint:checkpoint", SYSTEM, t.shell),
    "torch-dataloader": lambda t: call(
        "builtins:list", call("torch.utils.data:DataLoader", [t.shell], None, False, None, None, 0, SYSTEM)
    ),
    "torch-ops-load-library": lambda t: method(attribute(module("torch"), "ops"), "load_library", library(t)),
    "torch-classes-load-library": lambda t: call("torch.classes:load_library", library(t)),
    "sympy-sympify": lambda t: call("sympy:sympify", f"[{t.code}]"),
    "sympy-parse-expr": lambda t: call("sympy.parsing.sympy_parser:eval_expr", t.code, {}, {}),
    "sympy-lambdify": lambda t: Call(call("sympy:lambdify", (), t.code)),
    "jinja2-template": lambda t: method(
        call("jinja2:Template", "{{ cycler.__init__.__globals__.os.system(x) }}"), "render", {"x": t.shell}
    ),
}
"""By name: a call that runs the payload, where the library is installed."""


def checkpoint_bytes(t: Target) -> bytes:
    """A checkpoint in torch's older format that holds a payload."""
    from tests.corpus.hostile.torch_bytes import legacy

    return legacy(call("os:system", t.shell))


def hub(t: Target) -> str:
    """A folder that ``torch.hub`` takes for a repository."""
    (t.folder / "hub").mkdir()
    (t.folder / "hub" / "hubconf.py").write_text(f"{t.code}\ndef entry(): return 1\n")
    return str(t.folder / "hub")


def library(t: Target) -> str:
    """A shared library whose constructor creates the canary."""
    from tests.corpus.hostile.native import shared_library

    (t.folder / "libx.so").write_bytes(shared_library(t.canary))
    return str(t.folder / "libx.so")
