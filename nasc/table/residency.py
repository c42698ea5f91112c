"""How much of the difference between warm and cold kernels a whole model pays."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nasc.devices import Device
from nasc.errors import ExportError
from nasc.exporters import export
from nasc.measurement import measure_anchored
from nasc.table.latency_table import LatencyTable
from nasc.table.provenance import Residency

if TYPE_CHECKING:
    from nasc.graph.network import Network

_TELLING = 0.05  # the cold times must add this much to the warm ones to tell anything
_MOST = 3.0  # weights from beyond the outer cache cost a multiple of cold ones; more than this is something else


def measure_residency(network: "Network", table: LatencyTable, device: Device, anchor_s: float) -> Residency | None:
    """How a whole model lies between its kernels' warm and cold times.

    Args:
        network: The traced model.
        table: Its kernels' warm and cold times.
        device: Where to measure it.
        anchor_s: The anchor's time on the table's scale.

    Returns:
        None where its weights stay in the cache, the two hardly differ, a kernel has no row, or it cannot be written.
    """
    warm_s, cold_s = (sum_kernels(network, table, share) for share in (0.0, 1.0))
    if warm_s is None or cold_s is None or cold_s - warm_s < _TELLING * warm_s:
        return None
    with TemporaryDirectory(prefix="nasc-whole-") as folder:
        try:
            artifact = export(network.model, network.example_inputs, Path(folder) / "model", device.format)
        except ExportError:
            return None
        if artifact.size_bytes <= table.resident_bytes:
            return None
        size = artifact.size_bytes
        (measured,) = measure_anchored([artifact], device, anchor_reference_s=anchor_s)
    share = (measured.seconds - table.floor_s - warm_s) / (cold_s - warm_s)
    telling = (cold_s - warm_s) / warm_s
    return Residency(float(size), round(min(max(share, 0.0), _MOST), 3), round(telling, 3))


def latest(points: Sequence[Residency]) -> tuple[Residency, ...]:
    """One point a size of weights: a model that is measured again replaces what it said before."""
    return tuple({point.weight_bytes: point for point in points}.values())


def sum_kernels(network: "Network", table: LatencyTable, cold_share: float) -> float | None:
    """The sum over the kernels of a dense network; None where one has no row."""
    view = table.at_share(cold_share)
    total = 0.0
    for kernel in network.kernels:
        sizes = dict(kernel.shape().sizes)
        if kernel.kind == "unsupported" or not view.covers(kernel.signature, sizes):
            return None
        total += float(view.seconds(kernel.signature, sizes))
    return total
