"""A choice of many words on the command line: a wrong one is answered with the nearest."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import click


class Nearest(click.Choice[str]):
    """``click.Choice`` that names the word that was probably meant, and all of them only where none is near."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word itself.

        Raises:
            click.BadParameter: It is none of them.
        """
        near = get_close_matches(str(value)[:100].lower(), [str(word) for word in self.choices], n=1)
        if value not in self.choices and near:
            self.fail(f"there is no {str(value)[:60]!r}. Did you mean {near[0]!r}?", param, ctx)
        return super().convert(value, param, ctx)
