"""``nasc devices``."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nasc.cli._grid import draw_grid
from nasc.cli._output import Reply, Verb

if TYPE_CHECKING:
    from nasc.devices import DeviceStatus


@click.command("devices", cls=Verb)
def command() -> Reply:
    """List what can be profiled from here, and what is missing for the rest.

    \b
    Example:
      nasc devices
    """  # noqa: D301 - click reads the backspace
    from nasc.devices import list_devices

    found = list_devices()
    rows = [(status.name, "yes" if status.ready else "no", status.runtime, _remark(status)) for status in found]
    return Reply(
        {"devices": [asdict(status) for status in found]}, draw_grid(["device", "ready", "runtime", "what"], rows)
    )


def _remark(status: "DeviceStatus") -> str:
    if status.ready:
        return f"{status.title}: {status.facts.get('cpu_model', '')}".strip()
    return f"missing: {status.missing}" + (f"; {status.fix}" if status.fix else "")
