"""Plain tables for the terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def draw_grid(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> "Table":
    """A table without frames; a head that ends with ``>`` is set flush right, as numbers are.

    Args:
        heads: Column heads.
        rows: One text per column; square brackets and the like stay as they are.
        title: A line above.
    """
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for head in heads:
        grid.add_column(head.removesuffix(">"), justify="right" if head.endswith(">") else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid
