"""The process that runs untrusted models: ``python -I -m qgate.sandbox.child``; started by ``launch``.

Arguments: descriptor of the channel, process id of the parent, then the limits. The request comes on
standard input once the parent has it; until then this process imports what any request needs. It ends with
status 0 once it has handed over a result, which may be an error that it understood; anything else is for
the parent to explain.
"""

from __future__ import annotations

from qgate.sandbox.body import Work, run_and_exit


def measuring() -> Work:
    """Measures a pair of models."""
    from qgate.measure.answer import answer, import_common_libraries, prepare

    return Work(import_common_libraries, prepare, answer)


if __name__ == "__main__":
    run_and_exit(measuring)
