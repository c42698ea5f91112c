"""The schema of a network, and the network with its layers replaced.

The schema lists every linear layer and convolution that one kernel runs and nobody else reads, between the first and the
last: what reads the model's input (patch embedding, stem) and what writes its output (classifier, head) stay dense, as in
the authors' experiments; so do depthwise and grouped convolutions, which have no block structure, and embeddings and norms.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from nasc.block_sparse import PixelflyConv2d, PixelflyLinear
from nasc.block_sparse.budget import Form, MatrixType, allocate
from nasc.blocks.rewriting import called_once, replace_modules
from nasc.errors import TraceError
from nasc.graph import Network
from nasc.methods.pixelfly.config import PixelflyConfig

Layer = PixelflyLinear | PixelflyConv2d


@dataclass(frozen=True)
class Schema:
    """The matrices of a network that can take another form.

    Args:
        matrices: One a layer, named by its dotted path.
        left_dense: Layers with weights that stay, with the reason, by dotted path.
    """

    matrices: tuple[MatrixType, ...]
    left_dense: Mapping[str, str]


def find_schema(network: Network, config: PixelflyConfig | None = None) -> Schema:
    """Which layers can be replaced, and the compute of each.

    Raises:
        TraceError: None can.
    """
    config = config or PixelflyConfig()
    kernels = {kernel.weights.weight: kernel for kernel in network.kernels if kernel.weights.weight is not None}
    usable = called_once(network.model, network.example_inputs)
    matrices: list[MatrixType] = []
    left: dict[str, str] = {}
    for path, module in network.model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        kernel = kernels.get(f"{path}.weight")
        reason = _reason(module, config)
        if kernel is None or path not in usable:
            reason = "its weight is read elsewhere, or more than once"
        elif reason is None and set(kernel.inputs) & set(network.inputs):
            reason = "reads the model's input"
        elif reason is None and kernel.output in network.outputs:
            reason = "writes the model's output"
        if reason is not None or kernel is None:
            left[path] = reason or ""
            continue
        rows, columns = module.weight.shape[:2]
        matrices.append(MatrixType(path, rows, columns, positions=max(1, kernel.macs_per)))
    if not matrices:
        raise TraceError(
            "expected a model with a linear layer or convolution between its first and its last; got none",
            "see what there is with: nasc inspect --model M",
        )
    return Schema(tuple(matrices), left)


def _reason(module: nn.Linear | nn.Conv2d, config: PixelflyConfig) -> str | None:
    """Why a layer of this kind stays dense, None where it need not."""
    if type(module) not in (nn.Linear, nn.Conv2d):
        return "is a layer of its own kind"
    if isinstance(module, nn.Conv2d):
        if config.layers == "linear":
            return "convolutions are not asked for"
        if module.groups > 1:
            return "is grouped: it has no block structure"
        if isinstance(module.padding, str) or module.padding_mode != "zeros":
            return "pads by another rule than zeros on both sides"
    elif config.layers == "conv":
        return "linear layers are not asked for"
    return None


def sparsify(
    network: Network, density: float, config: PixelflyConfig | None = None, schema: Schema | None = None
) -> tuple[nn.Module, dict[str, Form]]:
    """A copy of the model with every layer of the schema as blocks plus low rank.

    Args:
        network: The traced model.
        density: Budget as a share of the dense compute of the schema's layers.
        config: Block, low-rank share, initialisation.
        schema: From :func:`find_schema`.

    Returns:
        The model to train, and the form of every layer by path; a layer whose form is dense is left as it is.
    """
    config = config or PixelflyConfig()
    schema = schema or find_schema(network, config)
    forms = allocate(schema.matrices, density, block=config.block, low_rank_share=config.low_rank_share)
    replacements: dict[str, nn.Module] = {}
    for matrix in schema.matrices:
        if not forms[matrix.name].dense:
            replacements[matrix.name] = build_layer(
                network.model.get_submodule(matrix.name), matrix, forms[matrix.name], config
            )
    return replace_modules(network.model, replacements), forms


def build_layer(module: nn.Module, matrix: MatrixType, form: Form, config: PixelflyConfig) -> Layer:
    """The layer in the place of a linear layer or convolution, freshly drawn or approximating its weights."""
    pattern = form.pattern(matrix)
    if isinstance(module, nn.Conv2d):
        if pattern is None:
            raise TraceError(f"{matrix.name}: expected blocks for a convolution; got low rank alone")
        convolution = PixelflyConv2d(
            pattern,
            form.rank,
            kernel_size=(module.kernel_size[0], module.kernel_size[1]),
            stride=(module.stride[0], module.stride[1]),
            padding=(int(module.padding[0]), int(module.padding[1])),
            dilation=(module.dilation[0], module.dilation[1]),
            bias=module.bias is not None,
        )
        return convolution.to(module.weight)
    assert isinstance(module, nn.Linear)
    layer = PixelflyLinear(
        pattern,
        form.rank,
        in_features=matrix.in_features,
        out_features=matrix.out_features,
        bias=module.bias is not None,
        variance_matched=config.variance_matched,
    ).to(module.weight)
    if config.pretrained:
        layer.copy_from(module.weight.detach())
        if layer.bias is not None and module.bias is not None:
            with torch.no_grad():
                layer.bias.copy_(module.bias)
    return layer
