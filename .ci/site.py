"""What the documentation site changes about docstrings: roles such as ``:func:`nasc.trace``` become plain names."""

import re
from typing import Any

_ROLE = re.compile(r":(?:class|data|exc|attr|func|meth|mod):\s*<code>(~?)([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs with every page."""
    return _ROLE.sub(lambda match: f"<code>{_shown(match[2], short=bool(match[1]))}</code>", html)


def _shown(name: str, *, short: bool) -> str:
    return name.rpartition(".")[2] if short else name
