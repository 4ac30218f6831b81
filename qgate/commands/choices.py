"""A choice of many words on the command line: a wrong one is answered with the nearest."""

from __future__ import annotations

from typing import Any

import click

from qgate.rules.nearest import nearest


class Nearest(click.Choice[str]):
    """``click.Choice`` that names the word that was probably meant, and all of them only where none is near."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word itself.

        Raises:
            click.BadParameter: It is none of them.
        """
        words = [str(word) for word in self.choices]
        near = nearest(str(value), words) if value not in words else None
        if near is not None:
            self.fail(f"there is no {str(value)[:60]!r}. Did you mean {near!r}?", param, ctx)
        return super().convert(value, param, ctx)
