"""A search space: which dims of a network may move, and how far."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Rule:
    """What a search space says about the dims that a pattern names; None leaves a point to other rules.

    Args:
        pattern: Dim names as the shell matches file names (``layer1.*``); alternatives with ``|`` between them.
        frozen: True holds the dims at their size, False lets them move.
        least: Smallest size, a count of entries (int) or a share of the dense size (float in 0..1).
        multiple: Sizes are multiples of it.
    """

    pattern: str
    frozen: bool | None = None
    least: int | float | None = None
    multiple: int | None = None

    def matches(self, name: str) -> bool:
        """Whether a dim of this name is meant."""
        return any(fnmatchcase(name, one.strip()) for one in self.pattern.split("|"))


@dataclass(frozen=True)
class SearchSpace:
    """Which dims may move, and how far.

    Args:
        name: For messages: the file or the name it was asked for by.
        rules: In order; where several match a dim, the last one that says something on a point decides it.
        ties: Patterns; the dims that one of them matches get one size.
        about: What the space is for, in a sentence.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    ties: tuple[str, ...] = ()
    about: str = ""

    def rule_for(self, name: str) -> Rule:
        """Everything the space says about one dim."""
        merged = Rule(name)
        for rule in self.rules:
            if rule.matches(name):
                said = {key: getattr(rule, key) for key in ("frozen", "least", "multiple")}
                merged = replace(merged, **{key: value for key, value in said.items() if value is not None})
        return merged
