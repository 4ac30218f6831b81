"""Makes a world where it stands and prints what a confined process saw of it: ``python -I inside.py ATTEMPT...``"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from world import made_world

if __name__ == "__main__":
    with made_world() as world:
        outcome = world.outcome(*sys.argv[1:])
        engaged = outcome.engaged
        told = {"user": engaged.user, "landlock": engaged.landlock, "seccomp": engaged.seccomp}
        print(json.dumps({**told, "seen": json.loads(outcome.payload), "signals": len(world.signals)}))
