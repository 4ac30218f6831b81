"""What payloads are made of, and the functions that start a process where a pickle calls them.

A name and a call each. Scanners keep lists of such names; the list has no end, which is why qgate's reader
asks what is allowed instead.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable
from typing import Any

from tests.corpus.hostile.case import Target
from tests.corpus.hostile.opcodes import Call, Global, Raw, call, emit, stream

Value = Callable[[Target], Any]
SYSTEM = Global("os", "system")


def attribute(value: Any, name: str) -> Call:
    """``getattr(value, name)``."""
    return call("builtins:getattr", value, name)


def method(value: Any, name: str, *args: Any) -> Call:
    """``value.name(*args)``."""
    return Call(attribute(value, name), args)


def module(name: str) -> Call:
    """A module object."""
    return call("importlib:import_module", name)


def code_object(t: Target) -> Call:
    """The payload as a code object, unmarshalled."""
    return call("marshal:loads", marshal.dumps(compile(t.code, "x", "exec")))


def helper(t: Target) -> str:
    """A Python file beside the case that creates the canary."""
    (t.folder / "helper.py").write_text(t.code + "\n")
    return str(t.folder / "helper.py")


def nested(t: Target) -> bytes:
    """A pickle to be held by another one."""
    return stream(call("os:system", t.shell))


def keyed(t: Target) -> Call:
    """``max([...], key=os.system)``, the keyword by way of NEWOBJ_EX and partial."""
    made = emit(Global("functools", "partial"))
    made += emit((Global("builtins", "max"), [t.shell, "true"])) + emit({"key": SYSTEM}) + b"\x92"
    return Call(Raw(made))


PROCESSES: dict[str, Value] = {
    "os-system": lambda t: call("os:system", t.shell),
    "posix-system": lambda t: call("posix:system", t.shell),
    "os-popen": lambda t: method(call("os:popen", t.shell), "read"),
    "os-spawnvp": lambda t: call("os:spawnvp", 0, "touch", t.argv),
    "os-posix-spawnp": lambda t: call("os:waitpid", call("os:posix_spawnp", "touch", t.argv, {}), 0),
    "subprocess-popen": lambda t: method(call("subprocess:Popen", t.argv), "wait"),
    "subprocess-run": lambda t: call("subprocess:run", t.argv),
    "subprocess-call": lambda t: call("subprocess:call", t.argv),
    "subprocess-check-output": lambda t: call("subprocess:check_output", t.argv),
    "subprocess-getoutput": lambda t: call("subprocess:getoutput", t.shell),
    "pty-spawn": lambda t: call("pty:spawn", t.argv),
    "uuid-command": lambda t: call("uuid:_get_command_stdout", "touch", t.canary),
    "osx-support": lambda t: call("_osx_support:_read_output", t.shell),
    "pydoc-pipepager": lambda t: call("pydoc:pipepager", "", t.shell),
    "pydoc-tempfilepager": lambda t: call("pydoc:tempfilepager", "", t.shell + " #"),
    "distutils-spawn": lambda t: call("distutils.spawn:spawn", t.argv),
    "setuptools-spawn": lambda t: call("setuptools._distutils.spawn:spawn", t.argv),
    "multiprocessing-spawnv": lambda t: call(
        "os:waitpid", call("multiprocessing.util:spawnv_passfds", b"/bin/sh", ["sh", "-c", t.shell], ()), 0
    ),
    "webbrowser": lambda t: method(call("webbrowser:GenericBrowser", ["touch", "%s"]), "open", t.canary),
    "asyncio-shell": lambda t: call("asyncio:run", call("asyncio:create_subprocess_shell", t.shell)),
    "script-helper": lambda t: call("test.support.script_helper:assert_python_ok", "-c", t.code),
    "pip-main": lambda t: call("pip:main", ["download", "--no-index", "--log", t.canary, "x"]),
    "pip-internal": lambda t: call("pip._internal:main", ["download", "--no-index", "--log", t.canary, "x"]),
}
"""Rows that start a process."""
