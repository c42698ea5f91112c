"""The relaxed price: eq. 5 (FLOPs) and eq. 6 (latency) as one number with a closed-form gradient.

``cost(R(a_1), R(a_2), ...)`` is computed in floats through :meth:`Price.slopes`; its gradient by the masks is
``slope(dim) * dR/da``. Autograd sees one node in place of hundreds.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nasc.methods._blocks import WeightForms
from nasc.methods._blocks.price import FULL_BITS
from nasc.methods._masks import Layout
from nasc.methods._price import Price
from nasc.methods.surrogate.norms import Form, sizes_and_gradient


@dataclass(frozen=True)
class RelaxedPrice:
    """The price of a mask and its gradient.

    Args:
        value: In the price's unit; at all-ones the dense price.
        gradient: By every mask entry, shape (entries,).
    """

    value: float
    gradient: Tensor


def relax(price: Price, layout: Layout, flat: Tensor, form: Form = "paper") -> RelaxedPrice:
    """The price at the surrogate sizes of a mask.

    Args:
        price: Eq. 5 where its unit is MACs, eq. 6 where it is seconds.
        layout: Where each dim lies in ``flat``.
        flat: All masks, shape (entries,), no dim all zero.
        form: See :mod:`nasc.methods.surrogate.norms`.
    """
    sizes, gradient = sizes_and_gradient(layout, flat.detach(), form)
    value, slopes = price.slopes(dict(zip(layout.names, sizes.tolist(), strict=True)))
    kappa = flat.new_tensor([slopes.get(name, 0.0) for name in layout.names])
    return RelaxedPrice(value, layout.spread(kappa) * gradient)


def relax_blocks(price: Price, layout: Layout, flat: Tensor, forms: WeightForms, form: Form = "paper") -> RelaxedPrice:
    """The price where masks over single weights and gates lie beside those over dims and ranks.

    A share is R(A) / numel, so that a layer costs ``sqrt(d d') sum(A) / |A|_F`` (latency_surrogate 2.2), bits are
    :func:`nasc.blocks.surrogate_bits` of the gates.

    Args:
        price: A :class:`nasc.methods._blocks.BlockPrice`, or several with their limits.
        layout: Where each vector lies in ``flat``.
        flat: All masks and gates, shape (entries,).
        forms: What the vectors beside the dims mean.
        form: See :mod:`nasc.methods.surrogate.norms`.
    """
    masks = flat.detach()
    found, slopes_of_sizes = sizes_and_gradient(layout, masks, form)
    sizes = dict(zip(layout.names, found.tolist(), strict=True))
    gradients, vectors = layout.split(slopes_of_sizes), layout.split(masks)
    for name in forms.sparse:
        sizes[name] /= vectors[name].numel()
        gradients[name] = gradients[name] / vectors[name].numel()
    for name in forms.quantised:
        gates = vectors[name].clone().requires_grad_()
        with torch.enable_grad():
            bits = forms.surrogate(name, gates)
            bits = bits if form == "paper" else bits.square() / FULL_BITS
            (gradients[name],) = torch.autograd.grad(bits, gates)
        sizes[name] = float(bits.detach())
    value, slopes = price.slopes(sizes)
    return RelaxedPrice(value, layout.join({name: slopes.get(name, 0.0) * gradients[name] for name in layout.names}))


class _WithGradient(torch.autograd.Function):
    """A number whose gradient is known."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, value: float, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return flat.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outputs[0] * gradient, None, None


def as_loss_term(flat: Tensor, relaxed: RelaxedPrice, weight: float) -> Tensor:
    """``weight * price`` as a scalar that hands its closed-form gradient to the masks.

    Args:
        flat: The mask leaf, shape (entries,).
        relaxed: Its price, from :func:`relax`.
        weight: Lambda, in loss per unit of price.
    """
    result: Tensor = _WithGradient.apply(  # type: ignore[no-untyped-call]
        flat, weight * relaxed.value, weight * relaxed.gradient
    )
    return result
