"""How much an entry of a dim matters: by the norms of what writes it, or by what the loss would lose with it."""

import torch
from torch import Tensor

from nasc.graph.dims import Axis, Dim
from nasc.graph.network import Network


def writer_norms(network: Network) -> dict[str, Tensor]:
    """Root mean square of the weights that write each entry, over all writers of the dim (a residual stream has many).

    A writer is a weight with the dim on an axis that is not contracted; norms and biases (one axis) are left out, so
    are axes that are a concatenation.

    Returns:
        Shape (dim size,) by maskable dim name; ones for a dim that no weight writes.
    """
    contracted = {(contraction.parameter, contraction.axis) for contraction in network.contractions}
    parameters = dict(network.model.named_parameters(remove_duplicate=False))
    squares = {name: torch.zeros(dim.size) for name, dim in network.maskable.items()}
    counts = dict.fromkeys(squares, 0)
    for parameter, axes in network.parameters.items():
        if len(axes) < 2 or parameter not in parameters:
            continue
        for index, axis in enumerate(axes):
            for name in _plain_dims(axis) & set(squares) if (parameter, index) not in contracted else ():
                weight = parameters[parameter].detach().float().cpu()
                squares[name] += _sum_of_squares(weight, index, axis, name)
                counts[name] += weight.numel() // squares[name].numel()
    return {
        name: (square / counts[name]).sqrt() if counts[name] else torch.ones_like(square)
        for name, square in squares.items()
    }


def reader_energies(network: Network, alive: dict[str, Tensor]) -> dict[str, Tensor]:
    """The squared weight that reads each entry, over the mean of its dim's living entries, averaged over the readers.

    Together with its mask this is what an entry is in any gauge: ``(a_j, W_j) -> (c a_j, W_j / c)`` leaves the network and
    ``a_j |W_j|`` as they are. Readers of one dim may differ in scale, hence the mean of ratios.

    Args:
        network: The traced model; its weights as they stand.
        alive: Who takes part in the means, shape (dim size,) by maskable dim name, above zero where alive.

    Returns:
        Shape (dim size,) by dim name, entries that are not alive included; ones for a dim that nothing reads.
    """
    parameters = dict(network.model.named_parameters(remove_duplicate=False))
    totals = {name: torch.zeros_like(mask) for name, mask in alive.items()}
    readers = dict.fromkeys(alive, 0)
    for contraction in network.contractions:
        axis = network.parameters[contraction.parameter][contraction.axis]
        names = {dim.name for dim in axis.dims()} & set(alive)
        if not names or contraction.parameter not in parameters:
            continue
        weight = parameters[contraction.parameter].detach().float().cpu()
        along = weight.movedim(contraction.axis, 0).flatten(1).square().sum(1)
        for name in names:
            energy = sum_by_entry(along, axis, name, alive[name].numel())
            living = (alive[name] > 0).to(energy)
            totals[name] += energy / ((energy * living).sum() / living.sum()).clamp_min(torch.finfo(energy.dtype).tiny)
            readers[name] += 1
    return {name: total / readers[name] if readers[name] else torch.ones_like(total) for name, total in totals.items()}


def relative(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores over the mean of their dim: layers of different scale can then be ranked together."""
    return {name: vector / vector.mean().clamp_min(1e-30) for name, vector in scores.items()}


def sum_by_entry(along: Tensor, axis: Axis, name: str, size: int) -> Tensor:
    """A vector over an axis, summed for every entry of one of its dims: the transpose of :meth:`Axis.expand`.

    An axis is a product of dims and concatenations, each linear in its mask, so the gradient of ``<along, expand(mask)>``
    at ones is that sum.
    """
    ones = torch.ones(size, requires_grad=True)
    with torch.enable_grad():
        (result,) = torch.autograd.grad((axis.expand({name: ones}) * along).sum(), ones)
    return result


def _plain_dims(axis: Axis) -> set[str]:
    """The dims of an axis that is a product of dims; none where a concatenation takes part."""
    names = [term.name for term in axis.terms if isinstance(term, Dim)]
    return set(names) if len(names) == len(axis.terms) else set()


def _sum_of_squares(weight: Tensor, index: int, axis: Axis, name: str) -> Tensor:
    """Squares of a weight summed over everything but one dim of one of its axes, shape (dim size,)."""
    along = weight.movedim(index, 0).flatten(1).square().sum(1)
    sizes = [term.size for term in axis.terms if isinstance(term, Dim)]
    place = next(i for i, term in enumerate(axis.terms) if isinstance(term, Dim) and term.name == name)
    return along.reshape(sizes).movedim(place, 0).flatten(1).sum(1) if len(sizes) > 1 else along


def norm_scales(network: Network) -> dict[str, Tensor]:
    """|gamma| of the batch norms that write each entry, the largest where several do (a residual stream).

    Returns:
        Shape (dim size,) by dim name, differentiable in the scales; only dims that a batch norm with scales writes.
    """
    parameters = dict(network.model.named_parameters(remove_duplicate=False))
    maskable = network.maskable
    scales: dict[str, Tensor] = {}
    for variance in network.running_variances:
        gamma = variance.removesuffix("running_var") + "weight"
        axes = network.parameters.get(gamma, ())
        if gamma not in parameters or len(axes) != 1 or len(axes[0].terms) != 1:
            continue
        term = axes[0].terms[0]
        if isinstance(term, Dim) and term.name in maskable:
            scale = parameters[gamma].abs()
            scales[term.name] = torch.maximum(scales[term.name], scale) if term.name in scales else scale
    return scales
