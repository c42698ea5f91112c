"""Every command the documentation shows can be typed, and every verb is documented."""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from nasc.cli import program
from nasc.cli._program import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown_commands() -> list[str]:
    found = [match for page in PAGES for match in re.findall(r"^\$ nasc (.+)$", page.read_text(), flags=re.M)]
    return sorted(set(found))


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_shown_is_accepted_by_the_program(line: str) -> None:
    verb, *arguments = shlex.split(line)
    command = program.get_command(click.Context(program), verb)
    assert command is not None, f"there is no nasc {verb}"
    command.make_context(verb, arguments)  # parses and checks every option, runs nothing


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_appears_in_the_documentation(verb: str) -> None:
    assert any(f"nasc {verb}" in page.read_text() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
    for file in re.findall(r"`((?:nasc|docs|benchmarks|tests|profilers)/[\w/.]+)`", text):
        assert (ROOT / file).exists(), f"{page.name} names {file}"


def test_the_command_line_reference_says_what_the_program_says() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert (ROOT / "docs" / "cli.md").read_text() == reference.render(), "run: make reference"


def test_the_page_on_hand_written_loops_includes_the_tested_file() -> None:
    assert '--8<-- "docs/examples/own_loop.py"' in (ROOT / "docs" / "how-to" / "own-loop.md").read_text()
