"""PyTorch files that are code by design: TorchScript, whole modules, packages, compiled libraries."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from typing import Any

from tests.corpus.hostile.case import Target, case, hostile
from tests.corpus.hostile.native import shared_library
from tests.corpus.hostile.opcodes import Built, Call, Global, call, stream
from tests.corpus.hostile.torch_bytes import archive, member, members, state

code = partial(hostile, "torch-code", "model.pt")


def script(t: Target, *, armed: bool) -> bytes:
    """A TorchScript archive; where armed, loading it calls ``from_file``, which creates a file."""
    import torch

    from tests.corpus.hostile.scripted import Armed, Plain

    made = Armed(t.canary) if armed else Plain()
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(made), out)
    return out.getvalue()


@code(loader="torch-jit")
def torchscript_setstate(t):
    """TorchScript whose __setstate__ runs while it is loaded"""
    return script(t, armed=True)


@hostile("torch-code", "model.onnx", loader="torch-jit")
def torchscript_renamed(t):
    """the same, named .onnx"""
    return script(t, armed=True)


@code()
def torchscript_plain(t):
    """TorchScript that does nothing when it is loaded, and is code all the same"""
    return script(t, armed=False)


@code()
def torchscript_hidden(t):
    """a checkpoint that carries TorchScript's code and constants besides"""
    extra = [
        member("archive/code/__torch__.py", b"class M: pass"),
        member("archive/constants.pkl", stream((), protocol=2)),
    ]
    return archive([*members(stream(state(), protocol=2)), *extra])


@code()
def lite_interpreter(t):
    """bytecode for the mobile interpreter"""
    return archive(
        [*members(stream(state(), protocol=2)), member("archive/bytecode.pkl", stream((), protocol=2))]
    )


def whole(forward: Any = None) -> bytes:
    """A whole module: its class by name, its state by BUILD."""
    held: dict[str, Any] = {
        "training": False, "_parameters": {}, "_buffers": {}, "_modules": {}, "_backward_hooks": {},
        "_forward_hooks": {} if forward is None else {0: forward}, "_forward_pre_hooks": {}, "_state_dict_hooks": {},
        "in_features": 3, "out_features": 2,
    }  # fmt: skip
    made = Call(Global("torch.nn.modules.linear", "Linear"), (), "newobj")
    return archive(members(stream(Built(made, held), protocol=2)))


@code()
def whole_module(t):
    """torch.save(model): a class by name instead of a state dict"""
    return whole()


@code()
def module_hook(t):
    """a whole module with a hook that runs at the first call"""
    return whole(call("functools:partial", Global("os", "system"), t.shell))


@code()
def module_forward(t):
    """a whole module whose forward is another function"""
    made = Call(Global("torch.nn.modules.linear", "Linear"), (), "newobj")
    return archive(members(stream(Built(made, {"forward": Global("os", "system")}), protocol=2)))


@code()
def unknown_class(t):
    """a class of somebody's own module"""
    made = Call(Global("my_project.models", "Net"), (), "newobj")
    return archive(members(stream(Built(made, {}), protocol=2)))


@code()
def graph_module(t):
    """a torch.fx module: its state holds source code that is executed"""
    body = {"_code": f"{t.code}\ndef forward(self, x): return x", "_graph": None}
    made = call("torch.fx.graph_module:reduce_graph_module", body, "")
    return archive(members(stream(made, protocol=2)))


@code(loader="torch")
def script_module_pickle(t):
    """a module held by a wrapper that is called while it is unpickled"""
    made = call("torch.nn.modules.container:Sequential", call("os:system", t.shell))
    return archive(members(stream(made, protocol=2)))


@hostile("torch-code", "model.pt")
def torch_package(t):
    """a torch.package archive: Python sources and pickles"""
    held = {
        "archive/.data/extern_modules": b"os\n", "archive/.data/version": b"6\n",
        "archive/model/model.pkl": stream(call("os:system", t.shell)), "archive/model/__init__.py": t.code.encode(),
    }  # fmt: skip
    return archive([member(name, data) for name, data in held.items()])


@hostile("torch-code", "model.pt2")
def aotinductor(t):
    """an AOTInductor package: a compiled library"""
    held = {
        "m/archive_format": b"pt2", "m/archive_version": b"0", "m/byteorder": b"little",
        "m/data/aotinductor/model/w.so": shared_library(t.canary),
        "m/data/aotinductor/model/w_metadata.json": b'{"AOTI_DEVICE_KEY": "cpu"}',
    }  # fmt: skip
    return archive([member(name, data) for name, data in held.items()])


@hostile("torch-code", "model.pt2")
def aotinductor_old(t):
    """an AOTInductor package of earlier releases"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("data/aotinductor/model/x.so", shared_library(t.canary))
        made.writestr("data/aotinductor/model/x.cpp", "int main() {}")
    return out.getvalue()


@hostile("torch-code", "model.pte")
def executorch(t):
    """an ExecuTorch program"""
    return b"\x1c\0\0\0ET12" + bytes(256)


def _library(t: Target) -> bytes:
    return shared_library(t.canary)


for _name in ("model.so", "model.onnx", "model.pt", "model.safetensors"):
    case(
        f"torch-code-elf-{_name.partition('.')[2]}", "torch-code", f"a shared library named {_name}", _name, _library,
        loader="torch-library",
    )  # fmt: skip
