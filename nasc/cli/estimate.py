"""``nasc estimate``."""

from typing import TYPE_CHECKING

import click

from nasc.cli._grid import draw_grid
from nasc.cli._options import device_options, model_option, search_space_option, shape_options
from nasc.cli._output import Reply, Verb
from nasc.errors import UsageError
from nasc.units import format_percent, format_seconds

if TYPE_CHECKING:
    from rich.console import Group

    from nasc.cost import LatencyPrice
    from nasc.table import AnalyticTable, LatencyTable


@click.command("estimate", cls=Verb)
@model_option()
@shape_options
@search_space_option
@device_options
@click.option(
    "--analytic", is_flag=True, help="By the device's public figures instead of measured times: to plan without it."
)
def command(
    model: str,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    search_space: str | None,
    device: str,
    runtime: str,
    threads: int,
    analytic: bool,
) -> Reply:
    """Estimate a model's latency by the device's table, per kernel and in total, without training or running it.

    \b
    Examples:
      nasc estimate --model timm:mobilenetv3_small_100 --device cpu
      nasc estimate --model digits-cnn --device pixel6 --analytic
    """  # noqa: D301 - click reads the backspace
    from nasc.cli._subjects import open_model, trace_subject
    from nasc.cost import price_latency
    from nasc.methods import Price, smallest_sizes

    table = _analytic(device, threads) if analytic else _measured(device, runtime, threads)
    subject = open_model(model, input_shape, classes)
    network = trace_subject(subject, search_space)
    price = price_latency(network, {}, table)
    smallest = price_latency(network, smallest_sizes(Price(network, "params")), table)
    return Reply(
        {
            "predicted_s": price.total_s,
            "smallest_s": smallest.total_s,
            "kernels": [{"name": name, "kind": kind, "predicted_s": seconds} for name, kind, seconds in price.kernels],
            "uncovered": price.uncovered,
            "uncovered_share": price.uncovered_share,
            "model": model,
            "device": device,
            "runtime": runtime,
            "threads": threads,
            "origin": table.origin,
        },
        _describe(price, smallest.total_s, table.origin),
    )


def _measured(device: str, runtime: str, threads: int) -> "LatencyTable":
    from nasc.devices import get_device
    from nasc.table import load_table

    return load_table(get_device(device, runtime=runtime, threads=threads))


def _analytic(device: str, threads: int) -> "AnalyticTable":
    from nasc.devices import load_descriptors
    from nasc.table import analytic_table

    descriptors = load_descriptors()
    if device not in descriptors:
        raise UsageError(f"unknown device {device!r}; known: {', '.join(descriptors)}", "nasc devices lists them")
    if threads != 1:
        raise UsageError(f"public figures are for one core; got --threads {threads}", "leave --threads out")
    return analytic_table(descriptors[device])


def _describe(price: "LatencyPrice", smallest_s: float, origin: str) -> "Group":
    from rich.console import Group

    rows = [
        (name, kind, format_seconds(seconds), format_percent(seconds / price.total_s if price.total_s else 0.0))
        for name, kind, seconds in price.kernels
    ]
    lines = [f"total {format_seconds(price.total_s)}; the smallest allowed widths take {format_seconds(smallest_s)}"]
    if origin == "analytic":
        lines.append("from the device's public figures, not measured: a lower bound that real kernels do not reach")
    if price.uncovered:
        share = format_percent(price.uncovered_share)
        lines.append(f"no table row covers {', '.join(price.uncovered)}: {share} of the work; nasc profile adds them")
    return Group(draw_grid(["kernel", "kind", "time>", "share>"], rows), *lines)
