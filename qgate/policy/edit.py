"""Writes thresholds into a policy's text, its comments and order kept."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from qgate.errors import PolicyError
from qgate.policy.load import load_policy

Entry = tuple[str, str, float, str]
"""Rule, parameter, value and the reason why."""

_WIDTH = 10_000
_REASON = 110
_DASH = 2
"""Column of the dashes of a list that is indented."""


def with_thresholds(content: bytes, target: str, entries: Sequence[Entry], where: str) -> bytes:
    """The policy with these thresholds under a target, each behind its reason.

    Args:
        content: A policy that was loaded already.
        target: Name of the target.
        entries: What is written; thresholds of the same name are replaced.
        where: What messages call the file.

    Raises:
        PolicyError: It cannot be written like that, or would be no policy any more.
    """
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    try:
        root = yaml.load(content.decode("utf-8"))
        lines = next(each for each in root["targets"] if each["name"] == target)
        if lines.lc.col >= _DASH + 2:
            yaml.indent(mapping=2, sequence=_DASH + 2, offset=_DASH)
        own = lines.setdefault("thresholds", CommentedMap())
        if any(each.fa.flow_style() for each in (lines, own)):
            raise PolicyError(
                f"the target {target!r} or its thresholds are written in braces, which leave no room for reasons",
                where=where,
                remedy="Write them in lines of their own, or copy what `qgate calibrate` prints",
            )
        for rule, param, value, why in entries:
            held = own.setdefault(rule, CommentedMap())
            if held.fa.flow_style():
                held.fa.set_block_style()
            held[param] = int(value) if value == int(value) else value
            held.yaml_set_comment_before_after_key(param, before=_wrapped(why), indent=lines.lc.col + 4)
        stream = io.StringIO()
        yaml.dump(root, stream)
    except (YAMLError, KeyError, StopIteration, AttributeError, TypeError, UnicodeDecodeError) as error:
        raise PolicyError(
            f"the thresholds cannot be written into it ({type(error).__name__})",
            where=where,
            remedy="Copy what `qgate calibrate` prints",
        ) from error
    text = stream.getvalue().encode("utf-8")
    load_policy(text, where)
    return text


def _wrapped(text: str) -> str:
    """The reason in lines of a readable length."""
    import textwrap

    return "\n".join(textwrap.wrap(text, _REASON))
