"""Search spaces as YAML files: read by path, or by name from the folder of those that nasc ships.

::

    about: Only the inner widths of feed-forward layers move, in steps of 16.
    dims:
      "*": freeze                       # patterns over the names that `nasc inspect` lists; later lines win
      "*mlp*|*intermediate*": {freeze: false, min: 25%, multiple: 16}
    ties:
      - "layers.*.mlp.*"                # one size for all of them
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nasc.errors import UsageError, unknown_name
from nasc.graph.space import Rule, SearchSpace
from nasc.paths import data_folder

_SUFFIX = ".yaml"
_KEYS = ("freeze", "min", "multiple")
_PARTS = ("about", "dims", "ties")


def list_spaces() -> list[str]:
    """Names of the search spaces that nasc ships."""
    return sorted(path.stem for path in data_folder("search_spaces").glob(f"*{_SUFFIX}"))


def load_space(spec: str) -> SearchSpace:
    """Read a search space.

    Args:
        spec: The path of a YAML file, or a name of :func:`list_spaces`.

    Raises:
        UsageError: There is no such file or name, it is no YAML, or it says something nasc does not know.
    """
    path = Path(spec).expanduser()
    if not path.is_file():
        if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
            raise UsageError(
                f"expected a search space at {path}, found no file", f"or use one of {', '.join(list_spaces())}"
            )
        path = data_folder("search_spaces") / f"{spec}{_SUFFIX}"
        if spec not in list_spaces():
            raise unknown_name("search space", spec, list_spaces())
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        reason = " ".join(str(failure).split())
        raise UsageError(f"cannot read the search space {path}: {reason}", "see docs: search spaces") from failure
    return parse_space(found, spec)


def parse_space(found: Any, name: str) -> SearchSpace:
    """A search space from plain data.

    >>> parse_space({"dims": {"*": {"multiple": 8}}}, "mine").rules
    (Rule(pattern='*', frozen=None, least=None, multiple=8),)

    Args:
        found: What the YAML file holds.
        name: For messages.

    Raises:
        UsageError: It says something nasc does not know.
    """
    parts = _mapping(found, name, "a mapping with " + ", ".join(_PARTS))
    _refuse_unknown(parts, _PARTS, name)
    dims = _mapping(parts.get("dims") or {}, name, "dims: a mapping from patterns of names")
    ties = parts.get("ties") or []
    if not isinstance(ties, list) or not all(isinstance(tie, str) for tie in ties):
        raise _wrong(name, "ties: a list of patterns", ties)
    rules = tuple(_rule(str(pattern), said, name) for pattern, said in dims.items())
    return SearchSpace(name, rules, tuple(ties), str(parts.get("about") or ""))


def _rule(pattern: str, said: Any, name: str) -> Rule:
    if said in ("freeze", "move"):
        return Rule(pattern, frozen=said == "freeze")
    given = _mapping(said, name, f'"{pattern}": freeze, move, or a mapping with {", ".join(_KEYS)}')
    _refuse_unknown(given, _KEYS, name)
    frozen, multiple = given.get("freeze"), given.get("multiple")
    if frozen is not None and not isinstance(frozen, bool):
        raise _wrong(name, f"{pattern}: freeze: true or false", frozen)
    if multiple is not None and (isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1):
        raise _wrong(name, f"{pattern}: multiple: a whole number from 1", multiple)
    return Rule(pattern, frozen, _least(given.get("min"), pattern, name), multiple)


def _least(value: Any, pattern: str, name: str) -> int | float | None:
    """``16`` entries, or ``25%`` of the dense size."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, str) and value.endswith("%"):
        try:
            share = float(value[:-1]) / 100
        except ValueError:
            share = -1.0
        if 0 <= share <= 1:
            return share
    raise _wrong(name, f"{pattern}: min: a number of entries or a share such as 25%", value)


def _mapping(value: Any, name: str, expected: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, expected, value)
    return value


def _refuse_unknown(given: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    for key in given:
        if key not in known:
            raise unknown_name(f"entry in the search space {name}:", str(key), known)


def _wrong(name: str, expected: str, got: Any) -> UsageError:
    return UsageError(f"the search space {name} is wrong: expected {expected}; got {got!r}", "see docs: search spaces")
