"""A policy file's bytes to a checked Policy."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from pydantic import ValidationError

from qgate.policy.check import check_policy
from qgate.policy.problems import from_pydantic, policy_error
from qgate.policy.schema import Policy
from qgate.policy.yaml_reader import parse_document
from qgate.rules.base import Rule

MAX_PROBLEMS = 50
"""After so many problems a hostile file is not searched for more."""


def load_policy(data: bytes, where: str, *, rules: Mapping[str, Rule] | None = None) -> Policy:
    """Reads a policy.

    Args:
        data: The file's bytes; YAML 1.2 in UTF-8, at most 1 MiB.
        where: What messages call the file, for example ``qgate.yml`` or ``qgate.yml at 1a2b3c``.
        rules: The catalogue that thresholds and waivers are checked against; the built-in one if None.

    Raises:
        PolicyError: The file cannot be used; line, key and remedy are named. Nothing else is raised,
            whatever the bytes are.
    """
    root = parse_document(data, where)
    try:
        policy = Policy.model_validate(root.plain())
    except ValidationError as error:
        problems = list(from_pydantic(error.errors(include_url=False)[:MAX_PROBLEMS]))
        raise policy_error(problems, root, where) from None
    if rules is None:
        from qgate.rules.catalogue import catalogue

        rules = catalogue()
    if problems := list(islice(check_policy(policy, rules), MAX_PROBLEMS)):
        raise policy_error(problems, root, where)
    return policy
