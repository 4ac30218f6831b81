"""A canary in the parent's environment and heap must be out of the child's reach."""

import os
import subprocess
import sys

import pytest

from qgate.sandbox.confine import NOBODY

CANARY = "ghs_canary_3f9a"

# The parent forks before it makes the canary in its heap, so the child holds no copy of it; both then live
# as the same unprivileged user. The child answers with what it could read.
SAME_USER = """
import os, sys
from qgate.sandbox.kernel import set_dumpable
from qgate.sandbox.protect import protect_parent
protected = sys.argv[1] == "protected"
ready, go = os.pipe(), os.pipe()
parent, child = os.getpid(), os.fork()
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
if child == 0:
    os.read(ready[0], 1)
    found = []
    try:
        if b"ghs_canary" in open(f"/proc/{parent}/environ", "rb").read(): found.append("environ")
    except OSError: pass
    try:
        address = int(os.read(go[0], 64))
        with open(f"/proc/{parent}/mem", "rb") as memory:
            memory.seek(address)
            if memory.read(64).startswith(b"heap:" + b"ghs_" + b"canary"): found.append("mem")
    except OSError: pass
    print(",".join(found) or "nothing"); sys.stdout.flush()
    os._exit(0)
import ctypes
set_dumpable(True)
if protected: protect_parent()
heap = ctypes.create_string_buffer(b"heap:" + os.environb[b"CANARY"])
os.write(go[1], str(ctypes.addressof(heap)).encode())
os.write(ready[1], b"x")
os.waitpid(child, 0)
"""

# What the real child is: a fresh interpreter that has passed through confine().
CONFINED = """
import subprocess, sys
from qgate.sandbox.protect import protect_parent
protect_parent()
code = '''
import os
from qgate.sandbox.confine import confine
from qgate.sandbox.limits import Limits
parent = os.getppid()
confine(Limits(), parent, 99, lambda: [])
found = []
for name in ("environ", "mem", "maps", "fd/0", "cwd"):
    try:
        os.open(f"/proc/{parent}/{name}", os.O_RDONLY); found.append(name)
    except OSError: pass
found += [key for key in os.environ if key == "CANARY"]
print(",".join(found) or "nothing", os.geteuid(), os.getgroups())
'''
done = subprocess.run([sys.executable, "-I", "-c", code], env={}, capture_output=True, text=True)
sys.stdout.write(done.stdout)
"""


def run(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, *arguments],
        env={"CANARY": CANARY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def test_without_protection_a_process_of_the_same_user_reads_both():
    # The control: were this to find nothing, the next test would prove nothing.
    assert run(SAME_USER, "open") == "environ,mem"


def test_a_protected_parent_is_closed_to_a_process_of_the_same_user():
    assert run(SAME_USER, "protected") == "nothing"


def test_a_confined_child_reads_nothing_of_its_parent():
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    found, who, groups = run(CONFINED).split(" ", 2)
    assert (found, int(who)) == ("nothing", user)
    if user == NOBODY:
        assert groups == "[]"


@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("parent", "confine(Limits(), 1 + os.getppid(), 99, lambda: [])"),
        ("limits", "confine(Limits(memory_mb=2**60), os.getppid(), 99, lambda: [])"),
    ],
)
def test_a_step_that_no_policy_can_do_without_is_named(step, call):
    script = (
        "import os\nfrom qgate.sandbox.confine import confine\nfrom qgate.sandbox.limits import Limits\n"
        f"engaged = {call}\n"
        "print(*engaged.lacking, engaged.landlock, engaged.seccomp, engaged.suffices(reduced=True))\n"
    )
    assert run(script) == f"{step} 0 False False"
