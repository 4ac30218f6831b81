"""What the image starts: the action, or the command line where arguments are given."""

import sys

try:
    if len(sys.argv) > 1:
        from qgate.cli import main
    else:
        from qgate.action import main
except Exception as error:  # whatever it is, a user must read a sentence and not a traceback
    print(f"qgate cannot start ({type(error).__name__}: {error}). The image is broken.", file=sys.stderr)
    sys.exit(2)

sys.exit(main())
