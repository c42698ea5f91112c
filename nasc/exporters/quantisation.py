"""Files of fewer bits, by the libraries made for it: ai-edge-quantizer for LiteRT, onnxruntime's quantiser for ONNX.

A smaller file is not a faster model: which kernels a runtime has for which bits decides, so measure what comes out.
Weights that were trained on grids (:mod:`nasc.blocks.quantisation`) lie within half a step of the file's own grid; these
libraries use grids with a point at zero, so the two are not the same to the last bit.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasc.artifact import Artifact
from nasc.errors import ExportError, UsageError
from nasc.exporters._files import write_atomically
from nasc.exporters._quiet import first_line, quiet

Inputs = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Scheme:
    """A way to store and compute.

    Args:
        meaning: For people.
        recipe: Name of ai-edge-quantizer's recipe; None where LiteRT has none.
        onnx: Whether the ONNX quantiser has it.
        calibrated: Needs sample inputs.
    """

    meaning: str
    recipe: str | None
    onnx: bool
    calibrated: bool = False


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "int8": Scheme("8-bit weights and activations, calibrated", "static_wi8_ai8", True, calibrated=True),
        "int8-dynamic": Scheme("8-bit weights, activations rounded as they come", "dynamic_wi8_afp32", True),
        "int8-weights": Scheme("8-bit weights, computed in float", "weight_only_wi8_afp32", False),
        "int4-dynamic": Scheme("4-bit weights, activations rounded as they come", "dynamic_wi4_afp32", False),
        "int4-weights": Scheme("4-bit weights, computed in float", "weight_only_wi4_afp32", False),
    }
)
"""What can be asked for, by name."""


def quantise_file(artifact: Artifact, path: Path, scheme: str, samples: Iterable[Inputs] = ()) -> Artifact:
    """Write a quantised copy of a model file.

    Args:
        artifact: A float32 LiteRT or ONNX file.
        path: Where to; replaced atomically.
        scheme: One of :data:`SCHEMES`.
        samples: Inputs of one sample each, in PyTorch's layout, for a scheme that is calibrated.

    Returns:
        The new file.

    Raises:
        UsageError: The scheme is unknown, needs samples and has none, or the format has no such scheme.
        ExportError: A package is missing, or the library refuses the model.
    """
    if scheme not in SCHEMES:
        raise UsageError(f"unknown quantisation {scheme!r}", f"known: {', '.join(SCHEMES)}")
    chosen, given = SCHEMES[scheme], tuple(samples)
    if chosen.calibrated and not given:
        raise UsageError(f"{scheme} is calibrated on sample inputs; got none", "give data, or take int8-dynamic")
    if artifact.format == "litert":
        return _quantise_litert(artifact, path, chosen, given)
    if artifact.format == "onnx" and chosen.onnx:
        return _quantise_onnx(artifact, path, chosen, given)
    known = [name for name, one in SCHEMES.items() if artifact.format == "onnx" and one.onnx]
    raise UsageError(
        f"no way to write {scheme} as {artifact.format}",
        f"that format takes {', '.join(known)}" if known else "export litert or onnx",
    )


def _quantise_litert(artifact: Artifact, path: Path, scheme: Scheme, samples: tuple[Inputs, ...]) -> Artifact:
    _need("ai_edge_quantizer", "litert")
    from ai_edge_quantizer import quantizer, recipe

    from nasc.exporters import exporter_of

    assert scheme.recipe is not None
    try:
        with quiet():
            worker = quantizer.Quantizer(str(artifact.path), getattr(recipe, scheme.recipe)())
            calibration = None
            if scheme.calibrated:
                for end in (
                    recipe.TFLOperationName.INPUT,
                    recipe.TFLOperationName.OUTPUT,
                ):  # as the float file has them
                    worker.update_quantization_recipe(".*", end, algorithm_key=recipe.AlgorithmName.NO_QUANTIZE)
                signature, names = _signature(artifact)
                rows = [dict(zip(names, _in_file_layout(artifact, one), strict=True)) for one in samples]
                calibration = worker.calibrate({signature: rows}, num_threads=1)
            result = worker.quantize(calibration, enable_progress_bar=False, enable_progress_report=False)
    except Exception as failure:  # the library's errors have no common base
        raise ExportError(
            f"expected a model that ai-edge-quantizer can quantise; it says: {first_line(failure)}",
            "take another scheme, such as int8-dynamic",
        ) from failure
    content = bytes(result.quantized_model)
    write_atomically(path, lambda temporary: Path(temporary).write_bytes(content))
    return exporter_of("litert").describe(path)


def _signature(artifact: Artifact) -> tuple[str, list[str]]:
    """The name under which LiteRT calls the model, and its inputs in the artifact's order."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(artifact.path))
    signatures = interpreter.get_signature_list()
    if not signatures:
        return "serving_default", [spec.name for spec in artifact.inputs]
    name = next(iter(signatures))
    return name, list(signatures[name]["inputs"])


def _in_file_layout(artifact: Artifact, inputs: Inputs) -> Iterator[NDArray[Any]]:
    """Samples as the file takes them: pictures with their channels last where it says so, its own number types."""
    for spec, values in zip(artifact.inputs, inputs, strict=True):
        moved = np.moveaxis(values, 1, -1) if artifact.channels_last and values.ndim == 4 else values
        yield np.ascontiguousarray(moved, dtype=spec.dtype)


def _quantise_onnx(artifact: Artifact, path: Path, scheme: Scheme, samples: tuple[Inputs, ...]) -> Artifact:
    _need("onnxruntime", "onnx")
    from onnxruntime import quantization

    from nasc.exporters import exporter_of

    def write(temporary: Path) -> None:
        import onnx

        model = onnx.load(artifact.path)
        # The exporter's shapes are those before it folded transposes away; the quantiser refuses them, and finds its own.
        model.graph.ClearField("value_info")
        if not scheme.calibrated:
            quantization.quantize_dynamic(model, str(temporary))
            return
        reader = _Samples([dict(zip((spec.name for spec in artifact.inputs), one, strict=True)) for one in samples])
        quantization.quantize_static(model, str(temporary), reader, per_channel=True)

    try:
        with quiet():
            write_atomically(path, write)
    except Exception as failure:  # the library's errors have no common base
        raise ExportError(
            f"expected a model that onnxruntime can quantise; it says: {first_line(failure)}",
            "take another scheme, or export litert",
        ) from failure
    return exporter_of("onnx").describe(path)


class _Samples:
    """What onnxruntime asks for sample after sample."""

    def __init__(self, rows: list[dict[str, NDArray[Any]]]) -> None:
        self._rows = iter(rows)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next one, None when all are read."""
        return next(self._rows, None)


def _need(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ExportError(f"expected the package {package}; it is not installed", f"pip install 'nasc[{extra}]'")
