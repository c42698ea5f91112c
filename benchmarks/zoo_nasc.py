"""What nasc makes of one model of the zoo: every check of the study, in the order in which a user would meet them."""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode
from zoo_models import build_model

from nasc.cost import cost
from nasc.errors import NascError
from nasc.graph import Network, Selection
from nasc.graph.explain import explain_failure
from nasc.graph.program import export_program
from nasc.graph.rules._base import POSITION
from nasc.graph.slicing import slice_network
from nasc.graph.trace import read_program
from nasc.graph.walk import INPUT, OUTPUT, UNUSED
from nasc.materialise import materialise, save_model
from nasc.testing.network import graph_difference, module_difference, random_inputs, random_kept, relative_difference

BOUNDARY = frozenset({INPUT, OUTPUT, UNUSED, POSITION, "is a vocabulary"})
"""Reasons of dims that nobody would prune: what goes in and out, vocabularies, positions."""

FRESH = """
import sys
for name in ("nasc", "timm", "torchvision", "transformers"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
from model import load
import torch
from safetensors.torch import load_file
from torch.utils import _pytree
given = load_file(sys.argv[1] + "/given.safetensors")
model = load().eval()
with torch.no_grad():
    outputs = model(*(given[f"input{i}"] for i in range(sum(name.startswith("input") for name in given))))
outputs = [leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
scale = max(float(given[f"output{i}"].abs().max()) for i in range(len(outputs)))
print(max(float((a.double() - given[f"output{i}"].double()).abs().max()) for i, a in enumerate(outputs)) / max(scale, 1e-12))
"""
"""Runs a saved model where nasc and the model's own library cannot be imported; prints the relative difference."""


def examine(name: str, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Every check on one model; what is known so far after each, so that a killed process has said what it could.

    Args:
        name: A model of :mod:`zoo_models`.
        seed: Chooses the smaller sizes.

    Yields:
        Figures: ``traced``, ``why_not``, ``export_s`` and ``walk_s`` (processor seconds), ``dims``, ``prunable_axes_share``,
        ``left_alone`` (reasons, counted), ``masked_difference`` and ``module_difference`` (relative), ``params_share``
        (left after random removal), ``macs`` and ``counted_macs`` of that model, ``reload_difference``.
    """
    model, inputs = build_model(name)
    started = time.process_time()
    try:
        program, batch = export_program(model, inputs)
        exported = time.process_time()
        network = read_program(model, inputs, program, batch)
    except Exception as failure:
        told = failure if isinstance(failure, NascError) else explain_failure(model, inputs, failure)
        yield {"traced": False, "why_not": str(told)}
        return
    yield {"traced": True, "export_s": exported - started, "walk_s": time.process_time() - exported}
    yield describe_dims(network)
    kept = random_kept(network, maskable=False, seed=seed)
    yield dict(_correctness(network, kept, seed))
    yield dict(_counted_macs(network, kept, seed))
    yield dict(_rebuilt(network, kept, seed))


def describe_dims(network: Network) -> dict[str, Any]:
    """How many dims there are, and the share of those worth pruning that may move, with what holds the others."""
    sizes = [dim for dim in network.dims.values() if dim.size > 1]
    worth = [dim for dim in sizes if dim.frozen not in BOUNDARY]
    held = Counter(str(dim.frozen) for dim in worth if dim.frozen is not None)
    multiplied = {contraction.parameter for contraction in network.contractions}
    axes = [
        axis
        for name, parameter in network.model.named_parameters()
        if name in multiplied and parameter.ndim > 1
        for axis in network.parameters[name][:2]
        if axis.size() > 1 and not all(dim.frozen in BOUNDARY for dim in axis.dims())
    ]
    free = [axis for axis in axes if any(dim.frozen is None for dim in axis.dims())]
    return {
        "dims": len(sizes),
        "free_dims": len(worth) - sum(held.values()),
        "axes": len(axes),
        "free_axes": len(free),
        "prunable_axes_share": len(free) / len(axes) if axes else 1.0,
        "left_alone": dict(held),
        "no_rule": dict(network.unsupported),
    }


def _samples(network: Network, seed: int, batch: int) -> tuple[Any, ...]:
    return random_inputs(network, batch if network.batch else _batch_of(network.example_inputs), seed=seed)


def _batch_of(inputs: tuple[Any, ...]) -> int:
    return next(int(leaf.shape[0]) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim)


def _correctness(network: Network, kept: Mapping[str, Tensor], seed: int) -> Iterator[tuple[str, Any]]:
    yield "dense_difference", module_difference(network, {}, _samples(network, seed, 2))
    yield (
        "module_difference",
        module_difference(network, random_kept(network, seed=seed), _samples(network, seed, 2)),
    )
    yield "masked_difference", graph_difference(network, kept, _samples(network, seed, network.batch or 1))


def _counted_macs(network: Network, kept: Mapping[str, Tensor], seed: int) -> Iterator[tuple[str, Any]]:
    """The formula at the smaller sizes, and what PyTorch counts while the smaller graph runs."""
    sizes = {name: int(indices.numel()) for name, indices in kept.items()}
    small = slice_network(network, kept)
    inputs = [leaf for leaf in pytree.tree_leaves(_samples(network, seed, 1)) if isinstance(leaf, Tensor)]
    with torch.no_grad(), _countable(), FlopCounterMode(display=False) as counter:
        small(*inputs)
    yield "params_share", _count(small) / max(_count(network.model), 1)
    yield "macs", int(cost(network, sizes, "macs"))
    yield "counted_macs", counter.get_total_flops() // 2


@contextmanager
def _countable() -> Iterator[None]:
    """Fused attention and recurrent kernels hide their products from the counter; their plain forms do not."""
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        yield


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _rebuilt(network: Network, kept: Mapping[str, Tensor], seed: int) -> Iterator[tuple[str, Any]]:
    """Build the small model, save it, and run it in a process without nasc."""
    small = materialise(network, Selection(dict(kept))).eval()
    tensors = [leaf for leaf in pytree.tree_leaves(_samples(network, seed, 2)) if isinstance(leaf, Tensor)]
    sliced = slice_network(network, kept)
    with torch.no_grad():
        outputs = [leaf for leaf in pytree.tree_leaves(sliced(*tensors)) if isinstance(leaf, Tensor)]
        yield "materialised_difference", relative_difference(small(*tensors), tuple(outputs))
    with tempfile.TemporaryDirectory() as folder:
        save_model(small, folder)
        given = {f"input{i}": tensor.contiguous() for i, tensor in enumerate(tensors)}
        given |= {f"output{i}": tensor.clone().contiguous() for i, tensor in enumerate(outputs)}
        save_file(given, Path(folder) / "given.safetensors")
        run = subprocess.run([sys.executable, "-c", FRESH, folder], capture_output=True, text=True, check=False)
    if run.returncode:
        yield "reload_error", run.stderr.strip().splitlines()[-1]
    else:
        yield "reload_difference", float(run.stdout)
