"""The handlers of all families of operators in one table.

A handler returns True when it has dealt with the node; False leaves the node as it is.
"""

from __future__ import annotations

from qgate.quant.operators import affine, fused, integer, packed, qlinear, standard
from qgate.quant.operators.shared import Handler

HANDLERS: dict[tuple[str, str], Handler] = {
    key: handler
    for family in (standard, fused, affine, qlinear, integer, packed)
    for key, handler in family.HANDLERS.items()
}
"""By (domain, operator); the domain ``*`` stands for any."""
