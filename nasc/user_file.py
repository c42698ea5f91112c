"""A user's own function, named as ``path/to/file.py:function``."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasc.errors import NascError, UsageError

_SPEC = re.compile(r"(?P<path>.+\.py):(?P<function>[^:]+)")


def names_user_file(spec: str) -> bool:
    """Whether ``spec`` reads as ``path/to/file.py:function``.

    >>> names_user_file("nets.py:small"), names_user_file("resnet-tiny")
    (True, False)
    """
    return _SPEC.fullmatch(spec) is not None


def load_function(spec: str, *, error: type[NascError]) -> Callable[..., Any]:
    """Run a user's Python file and give the function that ``spec`` names.

    The file is code the user names on purpose, and it runs with the user's rights; nothing is loaded from it unasked.

    Args:
        spec: ``path/to/file.py:function``.
        error: The class of error to raise when the file is missing, fails, or has no such function.

    Returns:
        The function.

    Raises:
        UsageError: ``spec`` is not of that form.
        NascError: Of class ``error``, when the file or the function cannot be had.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageError(f"expected path/to/file.py:function, got {spec!r}", "name the file and the function in it")
    path, name = Path(match["path"]), match["function"]
    if not path.is_file():
        raise error(f"expected a Python file at {path}, found none", "check the path before the colon")
    module = _run(path, error)
    function = getattr(module, name, None)
    if not callable(function):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise error(f"{path} has no function {name!r}", f"it has: {', '.join(known) or 'no function at all'}")
    return function  # type: ignore[no-any-return]


def _run(path: Path, error: type[NascError]) -> object:
    """The module in the file at ``path``, executed."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise error(f"{path} cannot be read as a Python module", "give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as failure:
        raise error(
            f"{path} fails when it is run: {type(failure).__name__}: {failure}", "make it import cleanly"
        ) from failure
    return module
