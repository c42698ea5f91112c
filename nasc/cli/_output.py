"""What a command prints: a reply as text or as one JSON object, a failure as a sentence and a hint."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import msgspec

from nasc.cli._failures import Failure

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_WIDTH = 120  # columns where the output goes to a file and no terminal tells its width


@dataclass(frozen=True)
class Reply:
    """What a command found.

    Args:
        data: The JSON object of ``--json``.
        text: The same for people: text or anything rich can draw.
        status: Exit status.
    """

    data: Mapping[str, Any]
    text: "RenderableType"
    status: int = 0


class Verb(click.Command):
    """A command with ``--json``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        help_text = "Print one JSON object on stdout and nothing else there."
        self.params.append(click.Option(["--json"], is_flag=True, expose_value=False, help=help_text))


@contextlib.contextmanager
def reserve_stdout(exclusive: bool) -> Iterator[TextIO]:
    """The stream for the reply; where it must hold nothing else, all other output goes to stderr instead.

    The file descriptor itself is moved, because converters and runtimes also write from C and from child processes.

    Args:
        exclusive: Keep everything but the reply away from stdout.
    """
    if not exclusive:
        yield sys.stdout
        return
    sys.stdout.flush()
    descriptor = os.dup(1)
    with open(descriptor, "w", encoding="utf-8", closefd=False) as stdout, contextlib.redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        try:
            yield stdout
        finally:
            stdout.flush()
            os.dup2(descriptor, 1)
            os.close(descriptor)


def print_reply(reply: Reply, as_json: bool, stdout: TextIO) -> None:
    """Print what a command found."""
    if as_json:
        stdout.write(_to_json(reply.data) + "\n")
        stdout.flush()
        return
    from rich.console import Console

    width = None if stdout.isatty() else PLAIN_WIDTH
    Console(file=stdout, width=width, highlight=False, soft_wrap=isinstance(reply.text, str)).print(
        reply.text, markup=False
    )
    stdout.flush()


def print_failure(failure: Failure, as_json: bool, stdout: TextIO) -> None:
    """Print why a command ended badly: JSON on stdout, or a sentence on stderr."""
    if as_json:
        stdout.write(_to_json({"error": failure.message, "hint": failure.hint}) + "\n")
        stdout.flush()
        return
    click.echo(f"{click.style('nasc:', fg='red', bold=True)} {failure.message}", err=True)
    if failure.hint:
        click.echo(f"  {click.style('try:', fg='cyan')} {failure.hint}", err=True)


def _to_json(data: Mapping[str, Any]) -> str:
    return msgspec.json.encode(data, enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    """What JSON has no word for: paths, and the numbers of numpy and torch."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in JSON")
