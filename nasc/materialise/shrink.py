"""From a traced network and a selection to the small model: slice, fold, write, load."""

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils import _pytree

from nasc.blocks import quantise_living
from nasc.graph.masking import masked_state, sparse_state
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.graph.slicing import slice_network, slice_state, slice_tensor
from nasc.graph.state import full_state
from nasc.graph.training_only import training_only
from nasc.materialise.generated import build
from nasc.materialise.source import Source, write_source


def materialise(network: Network, selection: Selection) -> nn.Module:
    """The small model a selection describes: a plain ``nn.Module`` with nothing of nasc inside.

    Its output equals that of the user's model with masked weights (arXiv 2306.05785): writers keep the rows of the kept
    entries, with their biases and norm statistics; readers keep the columns, multiplied by the gains. Parameters keep
    their names, order, ``requires_grad`` and ties, the module its training mode. The user's model is not touched.
    Parameters that the output does not depend on are left out.

    Args:
        network: A traced model.
        selection: Kept indices and gains; what it does not name is kept whole.

    Returns:
        The small model, on the device and with the dtypes of the user's.

    Raises:
        ModelError: The model contains an operator that is not part of PyTorch.
    """
    graph = slice_network(network, selection.kept)
    constants = dict(graph.named_buffers())  # those without a name in the user's model
    small = build(_source(network, graph), {**constants, **small_state(network, selection)})
    small.train(network.model.training)
    return small


def small_state(network: Network, selection: Selection) -> dict[str, Tensor]:
    """Parameters and buffers of the small model by original name: ``W[:, alive] * a[alive]``.

    Dropped weights are zero, the others on their grid where they have one.
    """
    with torch.no_grad():
        folded = masked_state(network, selection.gains) if selection.gains else {}
        small = slice_state(network, selection.kept, {**folded, **sparse_state(network, selection.masks, folded)})
        return small | {name: quantise_living(small[name], bits) for name, bits in selection.bits.items()}


def small_masks(network: Network, selection: Selection) -> dict[str, Tensor]:
    """The masks over single weights of the small model, by original name: what fine-tuning has to keep at zero."""
    return {
        name: slice_tensor(mask, network.parameters[name], selection.kept) for name, mask in selection.masks.items()
    }


def _source(network: Network, graph: GraphModule) -> Source:
    model = network.model
    return write_source(
        graph,
        class_name=type(model).__name__,
        example_inputs=_pytree.tree_leaves(network.example_inputs),
        ties=_ties(model),
        order=_names_in_order(model),
        persistent=model.state_dict().keys(),
        cumulative={path for path, module in model.named_modules() if _is_cumulative(module)},
        out_spec=network.program.call_spec.out_spec,
        training_only=training_only(network),
    )


def _names_in_order(model: nn.Module) -> list[str]:
    """Every name of every parameter and buffer, module by module as they were made."""
    return [
        f"{path}.{name}" if path else name
        for path, module in model.named_modules(remove_duplicate=False)
        for name in (*module._parameters, *module._buffers)
    ]


def _ties(model: nn.Module) -> dict[str, str]:
    """Second and later names of each parameter and buffer, and the first one."""
    first: dict[int, str] = {}
    ties = {}
    for name, tensor in full_state(model).items():
        same = first.setdefault(id(tensor), name)
        if same != name:
            ties[name] = same
    return ties


def _is_cumulative(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is None
