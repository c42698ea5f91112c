"""A network described for people and programs: its dims, what ties them, what is frozen and why, and its kernels."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from nasc.graph.dims import Axis, Dim
from nasc.graph.network import Kernel, Network
from nasc.graph.parameters import learned_parameters
from nasc.graph.training_only import training_only
from nasc.kernels import KINDS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_NAMES_SHOWN = 3  # of the kernels that a dim ties, in the text


_ADVICE = (
    ("is an axis of the model's input", "It is the data's; nothing to do."),
    (
        "reaches the model's output",
        "To let it move, end the model with a layer that writes what is needed, or drop the output.",
    ),
    ("is a vocabulary", "Its entries are looked up by number; only the data could make it smaller."),
    ("counts positions", "It follows the size of the input; give smaller inputs to shrink it."),
    (
        "is indexed by a table",
        "Entries are picked by a table of numbers; slice (x[:, :k]) instead where they lie together.",
    ),
    (
        "is indexed by number",
        "An entry is picked by its number, as a packed q, k, v is; the other factors of the axis may move.",
    ),
    ("counts stacked tensors", "It is the number of tensors stacked; the other axes may move."),
    ("counts the gates", "The cell has that many gates; the hidden size may move."),
    ("counts the experts", "Rows are sent to experts by number; the widths inside them may move."),
    ("is padding", "It is added by a constant; the rest of the axis may move."),
    ("cuts through", "Cut or reshape at a border between dims: equal parts, or one split a block."),
    ("does not divide evenly", "Cut or reshape at a border between dims: equal parts, or one split a block."),
    (
        "is read with a stride",
        "Reshape to pairs and index the last axis, or use halves (chunk) instead of x[..., ::2].",
    ),
    ("has no rule", "Write it with other torch operators, or keep it away from widths that should move."),
    ("is not used", "Nothing reads it; it can be deleted from the model."),
    ("belongs to a constant", "Make the constant from sizes (torch.ones(x.shape[1])) or register it as a buffer."),
    ("search space", "Change the search space, or leave --search-space out."),
    ("do not divide", "Choose another multiple in the search space, or exclude this dim from it."),
    ("runs over it", "The operator needs every entry in its place; keep it away from widths that should move."),
    ("moves its entries", "The operator needs every entry in its place; keep it away from widths that should move."),
    ("Fourier transform", "Every frequency reads every entry; transform positions rather than channels."),
)
"""What to do about a frozen dim, by a part of the reason; the first that fits counts."""


def advise(reason: str) -> str:
    """What a user can do about a frozen dim, in a sentence; empty where there is nothing to say.

    >>> advise("is a vocabulary")
    'Its entries are looked up by number; only the data could make it smaller.'
    """
    return next((advice for part, advice in _ADVICE if part in reason), "")


def describe(network: Network) -> dict[str, Any]:
    """Everything :func:`render` shows, as plain data.

    Args:
        network: The traced model.

    Returns:
        ``dims``: name, size, frozen (why it may not change, or None), advice (what to do about that), reduced (why a zero
        is not a removal, or None), least (smallest size allowed), macs and params (of the kernels and parameters it is a
        size of: what would be saved if it vanished), written_by, read_by, passed_by (names of kernels). ``kernels``: name,
        kind, sizes, attributes, activation, macs.
        ``macs`` and ``params`` (those the traced computation uses) as counts. ``unsupported``: operators without a rule
        for dims, with how often each was met. ``not_lowered``: the same for kernels. ``training_only``: modules whose
        behaviour in training a finished model does not have, class by path.
    """
    kernels = [_describe_kernel(kernel) for kernel in network.kernels]
    return {
        "dims": [_describe_dim(dim, network) for dim in network.dims.values()],
        "kernels": kernels,
        "macs": sum(kernel["macs"] for kernel in kernels),
        "params": sum(_count_entries(axes) for _, axes in learned_parameters(network)),
        "unsupported": dict(network.unsupported),
        "training_only": training_only(network),
        "not_lowered": _count(str(k.signature["op"]) for k in network.kernels if k.kind == "unsupported"),
    }


def _count_entries(axes: Iterable[Axis]) -> int:
    return prod(int(axis.size()) for axis in axes)


def _describe_dim(dim: Dim, network: Network) -> dict[str, Any]:
    ties: dict[str, list[str]] = {"written_by": [], "read_by": [], "passed_by": []}
    roles = {"c_out": "written_by", "c_in": "read_by"}
    for kernel in network.kernels:
        for size, axis in kernel.sizes.items():
            if _has(axis, dim):
                ties[roles.get(size, "passed_by")].append(kernel.name)
    touched = [kernel for kernel in network.kernels if any(_has(axis, dim) for axis in kernel.sizes.values())]
    along = [axes for _, axes in learned_parameters(network) if any(_has(axis, dim) for axis in axes)]
    return {
        "name": dim.name,
        "size": dim.size,
        "frozen": dim.frozen,
        "advice": advise(dim.frozen) if dim.frozen else None,
        "reduced": dim.reduced,
        "least": dim.least,
        "macs": sum(int(kernel.macs()) for kernel in touched),
        "params": sum(_count_entries(axes) for axes in along),
        **ties,
    }


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
    return Group(
        _dims_table(data["dims"]),
        _kernels_table(data["kernels"]),
        summary,
        *_what_to_do(data["dims"]),
        *_warnings(data),
    )


def _what_to_do(dims: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every reason for which dims are frozen, once, with what can be done."""
    counts = _count(f"{dim['frozen']}. {dim['advice']}" for dim in dims if dim["advice"])
    return [f"frozen ({times}): {text}" for text, times in counts.items()]


def _dims_table(dims: Sequence[Mapping[str, Any]]) -> "Table":
    table = _table("dim", "size>", "MMAC>", "params>", "may change", "written by", "read by")
    for dim in dims:
        ties = (_shorten(dim["written_by"]), _shorten(dim["read_by"]))
        share = (f"{dim['macs'] / 1e6:.2f}", str(dim["params"]))
        _add_row(table, dim["name"], str(dim["size"]), *share, _freedom(dim), *ties)
    return table


def _freedom(dim: Mapping[str, Any]) -> str:
    if dim["frozen"] is not None:
        return f"no: {dim['frozen']}"
    if dim["least"] > 1:
        return f"yes, down to {dim['least']}"
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
    if data["training_only"]:
        shown = _shorten([f"{path} ({name})" for path, name in data["training_only"].items()])
        lines.append(f"act only in training, so not in a finished model: {shown}")
    return lines


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({times}x)" if times > 1 else name for name, times in counts.items())
