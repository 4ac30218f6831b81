"""What can go wrong between a client and GitHub, on order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """One disturbance of the next ``times`` requests whose ``METHOD /path`` matches.

    Args:
        match: Regular expression searched in ``METHOD /path``.
        times: How many requests it disturbs.
        status: The status answered instead; 0 leaves the true answer.
        body: The body answered instead; a string is sent as HTML.
        headers: Headers added to the answer.
        commit: The request takes effect before the disturbance.
        drop: The connection is closed without an answer.
        delay: Seconds before anything happens.
    """

    match: str
    times: int = 1
    status: int = 0
    body: Any = field(default_factory=lambda: {"message": "Server Error"})
    headers: dict[str, str] = field(default_factory=dict)
    commit: bool = False
    drop: bool = False
    delay: float = 0.0

    def takes(self, line: str) -> bool:
        """Whether it disturbs this request; counts it if so."""
        if self.times <= 0 or re.search(self.match, line) is None:
            return False
        self.times -= 1
        return True
