"""Runs a confined process that does nothing, by the real launcher; prints how it was confined, or the error.

python launch.py required|reduced
"""

import json
import sys
from pathlib import Path

from qgate.errors import SandboxError
from qgate.sandbox.launch import run_child
from qgate.sandbox.limits import Limits

if __name__ == "__main__":
    program = (str(Path(__file__).with_name("program.py")),)
    request = json.dumps({"files": [], "attempts": ["say nothing"]})
    try:
        engaged = run_child(request, Limits(reduced=sys.argv[1] == "reduced"), program=program).engaged
        told = {"landlock": engaged.landlock, "seccomp": engaged.seccomp, "lacking": engaged.reasons()}
        print(json.dumps(told))
    except SandboxError as error:
        print(json.dumps({"what": error.what, "remedy": error.remedy}))
