"""What the image starts: the action, or the command line where arguments are given."""

import sys

try:
    if len(sys.argv) > 1:
        from qgate.cli import main
    else:
        from qgate.action import main
    code = main()
except Exception as error:  # a crash is no verdict: one sentence, and never the exit code of FAIL
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    print(f"::error title=qgate::{reason}", file=sys.stderr)
    print("qgate could not run: the image is broken, or this is a defect; please report it.", file=sys.stderr)
    code = 2

sys.exit(code)
