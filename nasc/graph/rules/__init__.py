"""Operator rules by family; :func:`find_rule` gives the rule for an operator of a graph."""

from typing import Any

import torch

from nasc.graph.rules import (
    contractions,
    creation,
    index,
    norms,
    order,
    pointwise,
    pool,
    recurrent,
    reduce,
    shape,
    spectral,
)
from nasc.graph.rules._base import Rule, registered

__all__ = ["FAMILIES", "find_rule"]

FAMILIES = (contractions, creation, index, norms, order, pointwise, pool, recurrent, reduce, shape, spectral)


def find_rule(target: Any) -> Rule | None:
    """The rule of an operator, or None where there is none.

    Operators that PyTorch tags as pointwise share one rule; overloads share the rule of their operator.
    """
    name = target._schema.name.split("::")[1]
    found = registered().get(name)
    if found is None and name.endswith("_") and not name.endswith("__"):
        found = registered().get(name[:-1])
    if found is None and torch.Tag.pointwise in target.tags:
        found = pointwise.pointwise
    return found
