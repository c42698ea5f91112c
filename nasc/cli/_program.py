"""The program ``nasc``: finds a verb's module when it is called for, and turns every outcome into an exit status.

Exit status 0 is done, 1 an error nasc explains, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

import nasc
from nasc.cli._failures import Failure, explain
from nasc.cli._output import Reply, print_failure, print_reply, reserve_stdout
from nasc.errors import UsageError

VERBS = {
    "devices": "What can be profiled from here, and what is missing for the rest.",
    "profile": "Build or extend a device's latency table.",
    "tables": "Latency tables, their provenance, and predicted against measured.",
    "inspect": "Dims, kernels, what is tied, what is frozen and why.",
    "estimate": "Latency per kernel and in total, without training.",
    "compress": "Make a model smaller until it meets a latency target on a device.",
    "compare": "Methods against each other, at equal budgets, on this machine or a cluster.",
    "extract": "Another member of a trained family for another target, without training.",
    "export": "Write a finished model as LiteRT, ONNX or torch.",
    "measure": "Time a finished model on a device.",
    "analyze": "The papers' diagnostics of finished runs: entropy, sharpness, overlap of masks, robustness.",
    "dashboard": "Accuracy against latency of finished runs, as one page.",
    "demo": "All of it on embedded data, in minutes on two cores.",
}
"""Every verb with its one-line help; the module of the same name holds ``command``."""

RESUMABLE = ("profile", "compress", "compare", "demo")


class Program(click.Group):
    """A group whose verbs are imported only when they run, so that ``nasc --help`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb."""
        if cmd_name not in VERBS:
            return None
        command = import_module(f"nasc.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which there are."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            raise UsageError(f"unknown command {name!r}; known: {', '.join(VERBS)}", hint="nasc --help")
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command("nasc", cls=Program)
@click.version_option(nasc.__version__, prog_name="nasc", message="%(prog)s %(version)s")
def program() -> None:
    """Make a PyTorch model meet a latency target on your device.

    \b
      nasc profile  --device cpu --model digits-cnn
      nasc compress --model digits-cnn --data digits --device cpu --target-latency -40%
    """  # noqa: D301 - click reads the backspace


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: What stands after ``nasc``.

    Returns:
        The exit status.
    """
    as_json = "--json" in arguments
    _show_log()
    with reserve_stdout(as_json) as stdout:
        try:
            result: Any = program.main(list(arguments) or ["--help"], prog_name="nasc", standalone_mode=False)
        except (Exception, KeyboardInterrupt) as error:
            failure = explain(error, resume=_resume_command(arguments))
            print_failure(failure, as_json, stdout)
            return failure.status
        if isinstance(result, Reply):
            return _print(result, as_json, stdout)
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def _show_log() -> None:
    """What the library reports while it works goes to stderr, a line each."""
    logger = logging.getLogger("nasc")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _print(reply: Reply, as_json: bool, stdout: Any) -> int:
    try:
        print_reply(reply, as_json, stdout)
    except BrokenPipeError:  # the reader, e.g. `head`, has seen enough
        return Failure.status_of_error
    return reply.status


def _resume_command(arguments: Sequence[str]) -> str:
    """The command that goes on where this one stopped; empty for verbs that are simply run again."""
    if not arguments or arguments[0] not in RESUMABLE:
        return ""
    return shlex.join(["nasc", *arguments])
