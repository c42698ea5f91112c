"""The command line: one module a verb, each parses, calls one public function, and returns what to print."""

from nasc.cli._program import main, program, run

__all__ = ["main", "program", "run"]
