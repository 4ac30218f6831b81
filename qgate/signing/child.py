"""The process that verifies a signature: ``python -I -m qgate.signing.child``; started by ``signing.check``."""

from __future__ import annotations

from qgate.sandbox.body import Work, run_and_exit


def verifying() -> Work:
    """Verifies one bundle."""
    from qgate.signing.library import answer, import_libraries, prepare

    return Work(import_libraries, prepare, answer)


if __name__ == "__main__":
    run_and_exit(verifying)
