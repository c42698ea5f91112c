"""Write docs/cli.md from the program's own help: `make reference`, after a change of a command.

A test compares the page with what this makes.
"""

from pathlib import Path

import click

from nasc.cli import program
from nasc.cli._program import VERBS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
WIDTH = 100  # columns of the help texts

HEAD = """# Command line

What each command says with `--help`; written by `make reference`. With `--json` a command prints one JSON object on
stdout and nothing else there; an error is then `{"error": ..., "hint": ...}`. Exit status: 0 done, 1 an error nasc
explains, 2 wrong usage, 130 stopped by Ctrl-C.

Targets are written `8ms`, `800us`, `1.5s`, `-40%` (of the dense model on the same device), `300MMAC`, `2Mparam` or `4MB`.
"""


def render() -> str:
    """The page."""
    parent = click.Context(program, info_name="nasc", terminal_width=WIDTH)
    sections = [_section("nasc", program, parent)]
    for verb in VERBS:
        command = program.get_command(parent, verb)
        assert command is not None
        context = click.Context(command, info_name=verb, parent=parent, terminal_width=WIDTH)
        sections.append(_section(f"nasc {verb}", command, context))
        for name, inner in sorted(getattr(command, "commands", {}).items()):
            sections.append(
                _section(
                    f"nasc {verb} {name}",
                    inner,
                    click.Context(inner, info_name=name, parent=context, terminal_width=WIDTH),
                )
            )
    return HEAD + "".join(sections)


def _section(title: str, command: click.Command, context: click.Context) -> str:
    return f"\n## {title}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(render())
