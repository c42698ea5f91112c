"""``nasc devices``."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from nasc.cli._grid import draw_grid
from nasc.cli._output import Reply, Verb

if TYPE_CHECKING:
    from nasc.devices.bundle import Bundle
    from nasc.devices.status import DeviceStatus


@click.command("devices", cls=Verb)
@click.option("--build-bundle", is_flag=True, help="Build what runs models on phones, once, from Debian's packages.")
@click.option("--architecture", default="aarch64", show_default=True, metavar="NAME", help="Processor to build it for.")
def command(build_bundle: bool, architecture: str) -> Reply:
    """List what can be profiled from here, and what is missing for the rest.

    \b
    Examples:
      nasc devices
      nasc devices --build-bundle
    """  # noqa: D301 - click reads the backspace
    from nasc.devices.status import list_devices

    if build_bundle:
        return _build(architecture)
    found = list_devices()
    rows = [(status.name, "yes" if status.ready else "no", _remark(status), status.fix or "") for status in found]
    return Reply(
        {"devices": [asdict(status) for status in found]}, draw_grid(["device", "ready", "what", "what to do"], rows)
    )


def _build(architecture: str) -> Reply:
    from nasc.devices.bundle import build_bundle

    bundle = build_bundle(architecture)
    return Reply({**asdict(bundle), "identity": bundle.identity}, _describe(bundle))


def _describe(bundle: "Bundle") -> str:
    size = sum((bundle.folder / name).stat().st_size for name in bundle.files)
    return (
        f"{bundle.folder}: bundle {bundle.identity} for {bundle.architecture}, LiteRT {bundle.litert}, {size:,} bytes"
    )


def _remark(status: "DeviceStatus") -> str:
    if not status.ready:
        return f"{status.title}: {status.missing}"
    where = f" at {', '.join(status.addresses)}" if status.addresses else ""
    marked = " (emulated: no real times)" if status.facts.get("origin") == "emulated" else ""
    return f"{status.title}: {status.facts.get('cpu_model', '')}{where}{marked}".strip()
