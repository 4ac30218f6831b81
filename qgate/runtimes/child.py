"""The process that one further runtime gets: ``python -I -m qgate.runtimes.child``; started by ``measure.deployed``.

Each runtime has a process of its own, so that a crash of one is that one's and no other's.
"""

from __future__ import annotations

from qgate.sandbox.body import Work, run_and_exit


def deploying() -> Work:
    """Runs a model in one runtime, or asks the runtime whether it takes it."""
    from qgate.measure.deployed.answer import answer, import_common_libraries, prepare

    return Work(import_common_libraries, prepare, answer)


if __name__ == "__main__":
    run_and_exit(deploying)
