"""Shows how far a run is: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from qgate.sandbox.quoting import one_line

_QUIET_SECONDS = 30.0
"""A log is read afterwards: only a run that lasts says how far it is."""

_QUIET_SHARE = 0.1


@contextlib.contextmanager
def show_progress(
    label: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Yields the callback for ``measure_pair``.

    Args:
        label: What is being run, usually the target's name.
        stream: Where to show it; standard error, so that results on standard output stay clean.
        clock: Seconds, for the plain lines' pace.
    """
    if not stream.isatty():
        yield _plain_lines(one_line(label, 80), stream, clock)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task(escape(one_line(label, 80)), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_lines(label: str, stream: TextIO, clock: Callable[[], float]) -> Callable[[int, int], None]:
    """At most one line every half minute and every tenth of the samples."""
    said, at = 0.0, clock()

    def show(done: int, total: int) -> None:
        nonlocal said, at
        now, share = clock(), done / max(total, 1)
        if now - at < _QUIET_SECONDS or share - said < _QUIET_SHARE:
            return
        said, at = share, now
        stream.write(f"{label}: {done} of {total} samples\n")
        stream.flush()

    return show
