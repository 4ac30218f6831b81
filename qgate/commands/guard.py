"""Errors of a command as one line and exit code 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import NoReturn, ParamSpec

import click

from qgate.errors import QgateError

P = ParamSpec("P")
EXIT_CANNOT = 2


def _fail(error: QgateError) -> NoReturn:
    from qgate.report.escape import visible

    click.echo(f"qgate: {visible(str(error))}", err=True)
    sys.exit(EXIT_CANNOT)


_NO_MEMORY = b"qgate: there is not enough memory; nothing was decided. Give it more, or fewer samples\n"


def _defect(error: Exception) -> QgateError:
    """What no code foresaw, with the line that it came from."""
    from traceback import extract_tb

    last = extract_tb(error.__traceback__)[-1]
    return QgateError(
        f"an error that qgate does not know: {type(error).__name__}: {error}"[:500],
        where=f"{Path(last.filename).name}:{last.lineno}",
        remedy="This is a defect of qgate; please report it with the command and this line",
    )


_ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What a time limit, a cancelled job and a closed terminal send."""


@contextmanager
def _ended_as_by_hand() -> Iterator[None]:
    """Signals that end a command do so as Ctrl-C does, so that copies of models do not stay behind; ignored ones stay so."""
    if threading.current_thread() is not threading.main_thread():  # where Python hears no signals
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    heard = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def guarded(command: Callable[P, int]) -> Callable[P, None]:
    """Turns errors into one line and exit 2; a traceback is only ever a defect of qgate."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with _ended_as_by_hand():
                code = command(*args, **kwargs)
        except QgateError as error:
            _fail(error)
        except SystemExit:
            # rich leaves with 1, which would say FAIL, where whoever reads the output has gone.
            code = EXIT_CANNOT
        except KeyboardInterrupt:
            click.echo("qgate: interrupted; nothing was decided", err=True)
            code = EXIT_CANNOT
        except OSError as error:
            _fail(
                QgateError(
                    f"the system refuses: {error.strerror or error}",
                    where=str(error.filename or ""),
                    remedy="Check that the disk has room and that this user may read and write there",
                )
            )
        except MemoryError:
            # Whatever takes memory may fail again, imports and the interpreter's own way out as well.
            os.write(2, _NO_MEMORY)
            os._exit(EXIT_CANNOT)
        except Exception as error:
            # Exit 1 would say FAIL; nothing was decided.
            _fail(_defect(error))
        sys.exit(code)

    return run
