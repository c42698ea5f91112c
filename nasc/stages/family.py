"""A trained family on disk: its record, its weights, and members as models of their own."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from nasc.datasets import ImageData
from nasc.errors import RunError
from nasc.family import Family, KernelLine, MemberLine, Way, save_family
from nasc.family.record import WEIGHTS_FILE
from nasc.graph import Axis, Network, Selection, trace
from nasc.graph.blocks import Exit
from nasc.graph.parameters import learned_parameters
from nasc.graph.running import Detour
from nasc.graph.shortening import cut_network
from nasc.graph.state import full_state
from nasc.materialise import materialise
from nasc.methods import Method
from nasc.methods.sorted_networks import SortedNetwork
from nasc.records import date_now, package_versions, source_commit, write_atomic
from nasc.stages.config import CompressConfig
from nasc.training import Accuracy, evaluate, recalibrate_norms

_log = logging.getLogger(__name__)

EVALUATED = 64
"""Members that are evaluated at most; the accuracies of the others are predicted."""

RECALIBRATION_BATCHES = 10
"""Batches that a member's batch-norm statistics are made from."""


def keep_family(method: Method, config: CompressConfig, data: ImageData, folder: Path) -> Family | None:
    """Evaluate the members of a family and leave it in the run's folder; nothing for a method that trains one network.

    Args:
        method: Frozen.
        config: What was asked.
        data: Members are evaluated on its validation pictures.
        folder: Of the run; gets ``family.json`` and ``family.safetensors``.
    """
    if not isinstance(method, SortedNetwork):
        return None
    _log.info("evaluating the family: %d members", len(method.pool))
    accuracies = evaluate_members(method, data, spread(len(method.pool), EVALUATED))
    family = describe_family(method, config, data, accuracies, folder.name)
    state = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in full_state(method.dense.model).items()
    }
    write_atomic(folder / WEIGHTS_FILE, tensors_to_bytes(state))
    save_family(family, folder)
    return family


def finish_member(method: Method, small: nn.Module, data: ImageData) -> None:
    """Give a family's finished member batch-norm statistics of its own, where the method asks for it."""
    if isinstance(method, SortedNetwork) and method.recalibrates:
        recalibrate_norms(small, data.train_x, batches=RECALIBRATION_BATCHES)


def spread(count: int, most: int) -> list[int]:
    """At most so many indices out of ``count``, evenly spread, both ends among them.

    >>> spread(5, 8), spread(10, 4)
    ([0, 1, 2, 3, 4], [0, 3, 6, 9])
    """
    if count <= most:
        return list(range(count))
    return [place * (count - 1) // (most - 1) for place in range(most)]


def evaluate_members(method: SortedNetwork, data: ImageData, indices: Iterable[int]) -> dict[int, Accuracy]:
    """Validation accuracy of members, by their index in the pool; no weight and no statistic of the family changes."""
    found = {}
    for index in indices:
        member = method.pool.members[index]
        if method.recalibrates:
            subject: nn.Module = build_member(method.dense, member.sizes, member.exit)
            recalibrate_norms(subject, data.train_x, batches=RECALIBRATION_BATCHES)
            found[index] = evaluate(subject, data.val_x, data.val_y)
            continue
        with method.family.as_member(member):
            found[index] = evaluate(method.family, data.val_x, data.val_y)
    return found


def build_member(network: Network, sizes: Mapping[str, int], exit_: Exit | None = None) -> nn.Module:
    """A member as a plain module with weights of its own.

    Args:
        network: The whole network.
        sizes: Entries to keep by dim name.
        exit_: Where it ends; None for the whole depth.
    """
    if exit_ is None or exit_.detour is None:
        return materialise(network, Selection({name: torch.arange(size) for name, size in sizes.items()}))
    short = trace(cut_network(network, sizes, exit_.detour), network.example_inputs)
    return materialise(short, Selection())


def describe_family(
    method: SortedNetwork, config: CompressConfig, data: ImageData, accuracies: Mapping[int, Accuracy], run: str
) -> Family:
    """The record of a family: what prices and chooses its members without tracing."""
    network = method.dense
    exits = {member.exit.blocks: member.exit for member in method.pool.members if member.exit is not None}
    blocks = max((exit_.blocks for exit_ in method.pool.exits), default=0)
    short = [way_of(method.price_at(e).network, network, e.blocks, e.detour) for e in exits.values()]
    ways = [way_of(network, network, blocks, None), *short]
    return Family(
        run=run,
        model=config.model,
        data=config.data,
        num_classes=data.num_classes,
        input_shape=tuple(data.input_shape),
        dims=dict(network.dense_sizes),
        weight_bytes=4 * sum(parameter.numel() for parameter in network.model.parameters()),
        ways=tuple(ways),
        members=tuple(
            MemberLine(
                label=member.label,
                values=dict(member.values),
                sizes=dict(member.sizes),
                blocks=member.exit.blocks if member.exit else blocks,
                updates=int(method.updates[member.index]),
                accuracy=accuracies[member.index].value if member.index in accuracies else None,
            )
            for member in method.pool.members
        ),
        validation=len(data.val_y),
        recalibrates=method.recalibrates,
        seed=config.recipe.seed,
        train_size=config.train_size,
        commit=source_commit(),
        date=date_now(),
        versions=package_versions("nasc", "torch", "numpy"),
    )


def way_of(short: Network, whole: Network, blocks: int, detour: Detour | None) -> Way:
    """The kernels of one depth over the dims of the whole network."""
    names = _whole_names(short, whole, detour) if detour else {name: name for name in whole.dims}
    kernels = tuple(
        KernelLine(
            kernel.name,
            kernel.kind,
            dict(kernel.signature.attributes),
            {name: _expression(axis, names) for name, axis in kernel.sizes.items()},
            kernel.macs_per,
        )
        for kernel in short.kernels
    )
    parameters = tuple([_expression(axis, names) for axis in axes] for _, axes in learned_parameters(short))
    return Way(blocks, kernels, parameters)


def _whole_names(short: Network, whole: Network, detour: Detour) -> dict[str, str]:
    """Dims of the shortened network by name, and the dims of the whole that give them their sizes."""
    behind = {place for place, _ in detour.renamed}
    found: dict[str, str] = {}
    for parameter, axes in short.parameters.items():
        for own, other in zip(axes, whole.parameters.get(parameter, ()), strict=False):
            for dim, original in zip(own.dims(), other.dims(), strict=False):
                if dim.name in short.dims and (dim.name not in found or found[dim.name] in behind):
                    found[dim.name] = original.name
    return found


def _expression(axis: Axis, names: Mapping[str, str]) -> list[object]:
    """An axis as JSON; dims that no member changes are numbers."""
    terms: list[object] = []
    for term in axis.terms:
        if hasattr(term, "parts"):
            terms.append([_expression(part, names) for part in term.parts])
        else:
            terms.append(names.get(term.name, term.size))
    return terms


def load_weights(folder: Path, model: nn.Module) -> None:
    """The family's weights into its model.

    Raises:
        RunError: They are missing, or are another model's.
    """
    path = folder / WEIGHTS_FILE
    try:
        state = load_file(path)
    except (OSError, ValueError) as failure:
        raise RunError(
            f"expected the family's weights in {path}; got: {failure}", "train the family again"
        ) from failure
    own = full_state(model)
    differing = [name for name, tensor in own.items() if name not in state or state[name].shape != tensor.shape]
    if differing:
        raise RunError(f"{path} holds another model's weights: {', '.join(differing[:3])}", "train the family again")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])


def largest_difference(expected: Any, got: Any) -> float:
    """Largest absolute difference of two tensors."""
    assert isinstance(expected, Tensor)
    assert isinstance(got, Tensor)
    return float((expected.double() - got.double()).abs().max())
