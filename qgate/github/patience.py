"""Repeating requests within one bounded amount of time for the whole run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from qgate.errors import PublishError
from qgate.github.refusals import RateLimitError, TransientError

T = TypeVar("T")

FIRST_PAUSE = 1.0
ATTEMPTS = 5


@dataclass
class Patience:
    """The time that talking to GitHub may cost a run: requests and pauses, not what lies between them.

    Without it a client that meets the primary rate limit sleeps until the reset, up to an hour.

    Args:
        seconds: All of it.
        clock: Monotonic seconds; ``now`` is Unix time, ``sleep`` pauses. Tests pass their own.
        spent: What has been used up.
    """

    seconds: float = 90.0
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    spent: float = 0.0

    def repeat(self, attempt: Callable[[], T], *, after_transient: bool) -> T:
        """Calls ``attempt`` until it succeeds, may not be repeated, or the time would run out.

        Args:
            attempt: One request.
            after_transient: Whether it may be repeated when it is unknown whether it took effect. What a
                rate limit refused took no effect and is always repeated.

        Raises:
            PublishError: The last refusal.
        """
        pause = FIRST_PAUSE
        for number in range(1, ATTEMPTS + 1):
            try:
                return self._timed(attempt)
            except RateLimitError as limited:
                self.pause(limited.wait, limited, last=number == ATTEMPTS)
            except TransientError as transient:
                if not after_transient:
                    raise
                self.pause(pause, transient, last=number == ATTEMPTS)
                pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def pause(self, wait: float, reason: PublishError, *, last: bool = False) -> None:
        """Waits, or gives up with the reason where the time does not reach.

        Raises:
            PublishError: ``reason``.
        """
        left = self.seconds - self.spent
        if last or wait > left:
            if isinstance(reason, RateLimitError):
                what = (
                    f"{reason.what}; it asks to wait {wait:.0f} s, and {max(left, 0):.0f} s are left for it"
                )
                raise RateLimitError(what, wait=wait, where=reason.where) from reason
            raise reason
        self._timed(lambda: self.sleep(wait))

    def _timed(self, action: Callable[[], T]) -> T:
        started = self.clock()
        try:
            return action()
        finally:
            self.spent += max(self.clock() - started, 0.0)
