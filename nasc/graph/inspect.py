"""A network described for people and programs: its dims, what ties them, what is frozen and why, and its kernels."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from nasc.graph.dims import Axis, Dim
from nasc.graph.network import Kernel, Network
from nasc.graph.parameters import learned_parameters
from nasc.kernels import KINDS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_NAMES_SHOWN = 3  # of the kernels that a dim ties, in the text


def describe(network: Network) -> dict[str, Any]:
    """Everything :func:`render` shows, as plain data.

    Args:
        network: The traced model.

    Returns:
        ``dims``: name, size, frozen (why it may not change, or None), reduced (why a zero is not a removal, or None),
        written_by, read_by, passed_by (names of kernels). ``kernels``: name, kind, sizes, attributes, activation, macs.
        ``macs`` and ``params`` (those the traced computation uses) as counts. ``unsupported``: operators without a rule
        for dims, with how often each was met. ``not_lowered``: the same for kernels.
    """
    kernels = [_describe_kernel(kernel) for kernel in network.kernels]
    return {
        "dims": [_describe_dim(dim, network.kernels) for dim in network.dims.values()],
        "kernels": kernels,
        "macs": sum(kernel["macs"] for kernel in kernels),
        "params": sum(_count_entries(axes) for _, axes in learned_parameters(network)),
        "unsupported": dict(network.unsupported),
        "not_lowered": _count(str(k.signature["op"]) for k in network.kernels if k.kind == "unsupported"),
    }


def _count_entries(axes: Iterable[Axis]) -> int:
    return prod(int(axis.size()) for axis in axes)


def _describe_dim(dim: Dim, kernels: Sequence[Kernel]) -> dict[str, Any]:
    ties: dict[str, list[str]] = {"written_by": [], "read_by": [], "passed_by": []}
    roles = {"c_out": "written_by", "c_in": "read_by"}
    for kernel in kernels:
        for size, axis in kernel.sizes.items():
            if _has(axis, dim):
                ties[roles.get(size, "passed_by")].append(kernel.name)
    return {"name": dim.name, "size": dim.size, "frozen": dim.frozen, "reduced": dim.reduced, **ties}


def _has(axis: Axis, dim: Dim) -> bool:
    return any(one.name == dim.name for one in axis.dims())


def _describe_kernel(kernel: Kernel) -> dict[str, Any]:
    return {
        "name": kernel.name,
        "kind": kernel.kind,
        "sizes": {name: int(kernel.sizes[name].size()) for name in KINDS[kernel.kind].sizes},
        "attributes": dict(kernel.signature.attributes),
        "activation": kernel.activation,
        "macs": int(kernel.macs()),
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


# --- as text ----------------------------------------------------------------------------------------------------------


def render(network: Network) -> "Group":
    """A network as tables for a terminal: dims, kernels, and what nasc could not read.

    Args:
        network: The traced model.
    """
    from rich.console import Group

    data = describe(network)
    changing = sum(dim["frozen"] is None for dim in data["dims"])
    summary = (
        f"{changing} of {len(data['dims'])} dims may change; {len(data['kernels'])} kernels, "
        f"{data['macs'] / 1e6:.2f} MMAC, {data['params'] / 1e6:.3f} M parameters"
    )
    return Group(_dims_table(data["dims"]), _kernels_table(data["kernels"]), summary, *_warnings(data))


def _dims_table(dims: Sequence[Mapping[str, Any]]) -> "Table":
    table = _table("dim", "size>", "may change", "written by", "read by")
    for dim in dims:
        ties = (_shorten(dim["written_by"]), _shorten(dim["read_by"]))
        _add_row(table, dim["name"], str(dim["size"]), _freedom(dim), *ties)
    return table


def _freedom(dim: Mapping[str, Any]) -> str:
    if dim["frozen"] is not None:
        return f"no: {dim['frozen']}"
    return "yes" if dim["reduced"] is None else f"yes, by removal only: {dim['reduced']}"


def _kernels_table(kernels: Sequence[Mapping[str, Any]]) -> "Table":
    table = _table("kernel", "kind", "sizes", "MMAC>")
    for kernel in kernels:
        if kernel["kind"] == "free":
            continue
        kind = " ".join(
            str(part) for part in (kernel["kind"], kernel["attributes"].get("op"), kernel["activation"]) if part
        )
        sizes = ", ".join(f"{name} {size}" for name, size in kernel["sizes"].items())
        _add_row(table, kernel["name"], kind, sizes, f"{kernel['macs'] / 1e6:.3f}" if kernel["macs"] else "")
    return table


def _table(*headings: str) -> "Table":
    """An open table; a heading that ends in ``>`` has its column to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading.removesuffix(">"), justify="right" if heading.endswith(">") else "left")
    return table


def _add_row(table: "Table", *cells: str) -> None:
    """A row of plain text: names may hold brackets, which rich would read as markup."""
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))


def _shorten(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _warnings(data: Mapping[str, Any]) -> list[str]:
    lines = []
    if data["unsupported"]:
        lines.append(f"no rule for {_counted(data['unsupported'])}: the dims they touch are frozen")
    if data["not_lowered"]:
        lines.append(f"no kernel for {_counted(data['not_lowered'])}: no price, and LiteRT export needs litert-torch")
    return lines


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({times}x)" if times > 1 else name for name, times in counts.items())
