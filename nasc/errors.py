"""Everything nasc refuses, as one tree.

::

    NascError                a sentence for the user: what was expected, what was got, what to do (exit status 1)
    ├── UsageError           wrong flags, names or units (exit status 2)
    ├── DataError            a data set that is missing, truncated or of another format
    ├── ModelError           a model that cannot be loaded, traced or run on its example input
    │   └── TraceError       names the operator, the module and the source line
    ├── DeviceError          a device that cannot be reached or fails
    │   └── RunnerError      what runs on the device failed; carries its own words
    ├── ExportError          a model or kernel that a format cannot express
    ├── TableError           a latency table that is missing, broken or made under other conditions
    │   └── OutsideTable     a size or kernel that the table never measured
    ├── TargetError          a target that no allowed model can meet
    ├── TrainingError        a loss that is not a number, a checkpoint that does not fit
    └── RunError             a run folder that is locked, incomplete or from another schema
"""

import difflib
from collections.abc import Iterable

_MOST_NAMES = 24


class NascError(Exception):
    """An error nasc explains: one sentence (expected, got) and a hint (what to do).

    Args:
        message: What was expected and what was got, with names and sizes.
        hint: What the user can do about it, as an imperative or a command line.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(NascError):
    """Wrong usage: an unknown name, flag value or unit."""

    exit_status = 2


class DataError(NascError):
    """A data set is missing, truncated or of another format."""


class ModelError(NascError):
    """A model cannot be loaded, or does not accept its example input."""


class TraceError(ModelError):
    """A model cannot be traced; the message names operator, module and source line where they are known."""


class DeviceError(NascError):
    """A device cannot be reached, or failed while in use."""


class RunnerError(DeviceError):
    """The program that runs models on the device failed; the message carries its own words."""


class ExportError(NascError):
    """A format cannot express a model or a kernel."""


class TableError(NascError):
    """A latency table is missing, broken, or was made under other conditions than asked."""


class OutsideTable(TableError):  # noqa: N818 - reads as the condition it names
    """A kernel or a size that the table never measured."""


class TargetError(NascError):
    """No model of the search space can meet the target."""


class TrainingError(NascError):
    """Training cannot go on: a loss that is not a number, or a checkpoint of another run."""


class RunError(NascError):
    """A run folder is in use, incomplete, or from another schema."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in a list: it names the near misses and lists what is known.

    >>> print(unknown_name("data set", "cifar", ["cifar10", "digits"]).hint)
    did you mean cifar10? Known: cifar10, digits

    Args:
        what: What is named: "data set", "model", "device".
        name: The name that was given.
        known: The names there are.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    known_names = ", ".join(names[:_MOST_NAMES]) + (f", ... ({len(names)} in all)" if len(names) > _MOST_NAMES else "")
    return UsageError(f"unknown {what} {name!r}", f"{meant}Known: {known_names}")
