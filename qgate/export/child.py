"""The process that exports a model: ``python -I -m qgate.export.child``; started by ``export.make``."""

from __future__ import annotations

from qgate.sandbox.body import Work, run_and_exit


def exporting() -> Work:
    """Exports one model."""
    from qgate.export.work import answer, import_libraries, prepare

    return Work(import_libraries, prepare, answer)


if __name__ == "__main__":
    run_and_exit(exporting)
