r"""nasc in one function: :func:`compress` is the program, a line a stage. Read this file first, then one package.

::

    device -> measurement -> table -\
                                     cost -> method -> training -> materialise -> export -> measurement -> record
    model  -> graph (dims, kernels) -/

A run lives in one folder. Every stage leaves its result there, so that the same call goes on after a kill where it stopped.
"""

from nasc.datasets import load_dataset
from nasc.devices import Device, get_device
from nasc.errors import ModelError
from nasc.exporters import export
from nasc.graph import Network, trace
from nasc.graph.restrict import restrict
from nasc.materialise import materialise, save_model, small_masks, verify, verify_trained
from nasc.methods import rewritten
from nasc.records import Record, save_record
from nasc.search_spaces import load_space
from nasc.stages.config import CompressConfig
from nasc.stages.family import finish_member, keep_family
from nasc.stages.goal import SUFFIX, measure_dense, set_goal
from nasc.stages.reporting import make_record
from nasc.stages.run_folder import open_run
from nasc.stages.search import dense_accuracy, fine_tune, load_classifier, make_teacher, search
from nasc.stages.settling import measure_beside_dense, settle
from nasc.table import LatencyTable, profile
from nasc.training import evaluate

TOLERANCE = 1e-5
"""Largest difference between the outputs of the small and of the masked model, for outputs of the size of scores."""

__all__ = ["CompressConfig", "compress", "cover"]


def compress(config: CompressConfig) -> Record:
    """Make a model smaller until its exported file meets the target on the device.

    Args:
        config: What is asked.

    Returns:
        The record of the finished model. ``config.folder`` holds ``record.json``, the model (``model/``: readable Python
        and safetensors), its file for the device, and the training history.

    Raises:
        NascError: With one sentence and what to do; nothing measured or trained is lost.
    """
    data = load_dataset(config.data, train_size=config.train_size, seed=config.recipe.seed)
    model = load_classifier(config, data)
    example = (data.train_x[:1],)
    network = hold(trace(model, example), config.search_space)
    device = get_device(config.device, runtime=config.runtime, threads=config.threads)
    with open_run(config) as folder:
        forms = rewritten(config.method, network, **config.options)
        table = cover(device, network, *forms, progress=config.progress)
        dense = measure_dense(network, device, table, folder)
        goal = set_goal(network, table, dense, config.target, config.further)
        teacher = make_teacher(config, data)
        method, searched = search(config, network, goal, data, folder, teacher)
        settled = settle(method, goal, dense, device, table, folder)
        small = materialise(method.network, settled.selection)
        masked_difference = verify(method.network, settled.selection, small)
        masks, bits = small_masks(method.network, settled.selection), settled.selection.bits
        history = fine_tune(small, masks, searched, config, data, folder, bits, teacher)
        finish_member(method, small, data)
        trained_difference = verify_trained(method.network, settled.selection, small)
        save_model(small, folder / "model")
        artifact = export(small, example, folder / f"model{SUFFIX[device.format]}")
        times = measure_beside_dense(artifact, dense.artifact, device, table)
        accuracy = evaluate(small, data.test_x, data.test_y)
        baseline = dense_accuracy(config, data)
        record = make_record(
            config,
            method.network,
            goal,
            dense,
            settled,
            history,
            artifact,
            times,
            accuracy,
            baseline,
            require_equal(masked_difference, trained_difference),
            table,
            folder,
        )
        save_record(record, folder)
        keep_family(method, config, data, folder)
        return record


def require_equal(*differences: float) -> float:
    """The largest of the differences between the small model and the user's masked one, if it is small enough to trust.

    Raises:
        ModelError: It is above :data:`TOLERANCE`; the model is not what was trained.
    """
    largest = max(differences)
    if not largest <= TOLERANCE:  # also true of NaN
        raise ModelError(
            f"expected the small model to equal the masked dense one to {TOLERANCE:g}; they differ by {largest:.3g}",
            "report it with the output of: nasc inspect --model MODEL --json",
        )
    return largest


def hold(network: Network, search_space: str | None) -> Network:
    """The network in which only what a search space allows may move; the network itself without one.

    Raises:
        UsageError: The search space cannot be read, or does not fit the model.
    """
    return restrict(network, load_space(search_space)) if search_space else network


def cover(device: Device, *networks: Network, progress: bool = True) -> LatencyTable:
    """The device's latency table, extended by whatever these networks need and no row covers."""
    return profile(device, networks, progress=progress).table
