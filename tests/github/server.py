"""The local GitHub as a process, for tests that run the real container.

    python tests/github/server.py --port 8790 --state-file state.json

prints its address once it listens. Tokens: ``ghs_rw`` and ``ghs_ro`` (github-actions[bot], with and
without write access), ``ghs_app`` (another app), ``ghp_alice`` (a person). Control:

* ``POST /__setup``: one order or a list, see ``World.set_up``;
* ``POST /__faults``: a list that replaces the faults in force, see ``Fault``;
* ``GET /__state``: what was written, asked, and which exchanges broke GitHub's OpenAPI description.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from local_github.server import GitHub


def main() -> None:
    """Serves until it is killed."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state-file", type=Path, help="rewritten after every request")
    parser.add_argument("--setup", type=Path, help="a JSON file with what POST /__setup takes")
    arguments = parser.parse_args()
    github = GitHub(arguments.port, arguments.host, arguments.state_file)
    if arguments.setup is not None:
        orders = json.loads(arguments.setup.read_text(encoding="utf-8"))
        for order in orders if isinstance(orders, list) else [orders]:
            github.world.set_up(order)
    github.save()
    print(github.url, flush=True)
    try:
        github.http.serve_forever()
    except KeyboardInterrupt:
        github.http.server_close()


if __name__ == "__main__":
    main()
