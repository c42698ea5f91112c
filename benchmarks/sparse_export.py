"""What zeros gain in the runtimes nasc exports to: dense, unstructured, block-4, 2:4 and channels at one sparsity.

One network, masks by magnitude, nothing trained: latency does not depend on the weights' values but for their zeros. Files
are timed interleaved in the same processes; the ratio to the dense file is what counts. LiteRT and onnxruntime get the
pruned weights as they are, zeros stored; channels are removed for real. Beside them a layer alone in a runtime that has
kernels for zeros: PyTorch's compressed rows, one matrix against a vector and against a batch.

    python benchmarks/sparse_export.py --size small            # nothing else may run on the machine
    python benchmarks/sparse_export.py --size small --report
"""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from study import RESULTS, load_rows, parse_arguments, provenance, results_file

NAME = "sparse_export"
RUNTIMES = ("litert", "onnxruntime", "rows")
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {
        "model": "mlp",
        "input_shape": (1, 8, 8),
        "sparsity": 0.9,
        "sessions": 3,
        "rounds": 3,
        "runtimes": ("rows",),
    },
    "small": {"model": "resnet-tiny", "input_shape": (3, 32, 32), "sparsity": 0.9, "sessions": 3, "rounds": 101}
    | {"runtimes": RUNTIMES},
    "full": {"model": "resnet-tiny@2", "input_shape": (3, 64, 64), "sparsity": 0.95, "sessions": 7, "rounds": 301}
    | {"runtimes": RUNTIMES},
}
PATTERNS = ("unstructured", "block4", "2:4", "channels")


def build_models(setting: dict[str, Any]) -> dict[str, Any]:
    """The dense model and one for every pattern."""
    import torch

    from nasc.graph import trace
    from nasc.materialise import materialise
    from nasc.methods import Price, build
    from nasc.models import load_model

    models = {}
    for pattern in ("dense", *PATTERNS):
        torch.manual_seed(0)
        model = load_model(setting["model"], num_classes=10, input_shape=setting["input_shape"]).eval()
        if pattern != "dense":
            network = trace(model, (torch.randn(1, *setting["input_shape"]),))
            sparsity = {} if pattern == "2:4" else {"sparsity": 0.5 if pattern == "channels" else setting["sparsity"]}
            method = build("one-shot", network, Price(network), 0.0, 10, start=0.0, pattern=pattern, **sparsity)
            model = materialise(network, method.select())
        models[pattern] = model
    return models


def measure_litert(setting: dict[str, Any], models: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Time every LiteRT file in the same fresh processes."""
    from nasc.devices import get_device
    from nasc.measurement import measure_anchored

    files = write(setting, models, folder, ".tflite")
    timed = measure_anchored(list(files.values()), get_device("cpu"), sessions=setting["sessions"])
    seconds = dict(zip(files, (each.seconds for each in timed), strict=True))
    return [row("litert", name, seconds, models[name], file.path) for name, file in files.items()]


def measure_onnx(setting: dict[str, Any], models: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Time every ONNX file in turns in this process; the median of the rounds."""
    import numpy as np
    import onnxruntime

    files = write(setting, models, folder, ".onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        name: onnxruntime.InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])
        for name, file in files.items()
    }
    x = np.zeros((1, *setting["input_shape"]), np.float32)
    calls = {
        name: (lambda session=session: session.run(None, {session.get_inputs()[0].name: x}))
        for name, session in sessions.items()
    }
    seconds = in_turns(calls, setting["rounds"])
    return [row("onnxruntime", name, seconds, models[name], file.path) for name, file in files.items()]


def measure_rows(setting: dict[str, Any]) -> list[dict[str, Any]]:
    """A matrix of 1024 x 1024 with zeros as compressed rows, against the same matrix dense; one column and 64."""
    import warnings

    import torch

    generator = torch.Generator().manual_seed(0)
    found = []
    for columns in (1, 64):
        x = torch.randn(1024, columns, generator=generator)
        dense = torch.randn(1024, 1024, generator=generator)
        calls = {"dense": lambda x=x, dense=dense: dense @ x}
        for sparsity in (0.5, 0.9, 0.95, 0.98):
            kept = dense * (torch.rand(dense.shape, generator=generator) > sparsity)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # compressed rows are called a beta feature
                rows = kept.to_sparse_csr()
            calls[f"{sparsity:.0%} zeros"] = lambda x=x, rows=rows: rows @ x
        seconds = in_turns(calls, setting["rounds"])
        found += [
            {
                "runtime": f"torch CSR, {columns}",
                "pattern": name,
                "measured_s": value,
                "ratio": value / seconds["dense"],
            }
            for name, value in seconds.items()
        ]
    return found


def in_turns(calls: dict[str, Any], rounds: int) -> dict[str, float]:
    """Median seconds of each call, all of them in turns."""
    import statistics

    from nasc.measurement import Stopwatch

    samples: dict[str, list[float]] = {name: [] for name in calls}
    for name in calls:
        calls[name]()
    for _ in range(rounds):
        for name, call in calls.items():
            watch = Stopwatch()
            for _ in range(5):
                call()
            samples[name].append(watch.seconds / 5)
    return {name: statistics.median(values) for name, values in samples.items()}


def write(setting: dict[str, Any], models: dict[str, Any], folder: Path, suffix: str) -> dict[str, Any]:
    """A file a model."""
    import torch

    from nasc.exporters import export

    example = (torch.randn(1, *setting["input_shape"]),)
    return {
        name: export(model, example, folder / f"{name.replace(':', '-')}{suffix}") for name, model in models.items()
    }


def row(runtime: str, name: str, seconds: dict[str, float], model: Any, file: Path) -> dict[str, Any]:
    """The figures of one file."""
    return {
        "runtime": runtime,
        "pattern": name,
        "zeros": zero_share(model),
        "measured_s": seconds[name],
        "ratio": seconds[name] / seconds["dense"],
        "bytes": file.stat().st_size,
        "gzip_bytes": len(gzip.compress(file.read_bytes())),
    }


def zero_share(model: Any) -> float:
    """Share of zeros among the matrices and kernels."""
    from nasc.analysis import zero_share

    return zero_share(model)


def report(size: str) -> None:
    """Latency against the dense file, and the bytes of the file as it is and compressed."""
    print(
        f"{'runtime':14} {'pattern':14} {'zeros':>7} {'latency, us':>12} {'of dense':>9} {'kB':>8} {'kB, gzip':>9}  date"
    )
    for found in load_rows(NAME, size):
        zeros, whole, packed = (found.get(key) for key in ("zeros", "bytes", "gzip_bytes"))
        sizes = f"{whole / 1000:8.1f} {packed / 1000:9.1f}" if whole and packed else f"{'-':>8} {'-':>9}"
        print(
            f"{found['runtime']:14} {found['pattern']:14} {'-' if zeros is None else format(zeros, '.1%'):>7} "
            f"{1e6 * found['measured_s']:12.1f} {found['ratio']:9.3f} {sizes}  {found['origin']['date']}"
        )


def main(size: str) -> None:
    """Measure everything once more; rows are added, never replaced."""
    import torch

    torch.set_num_threads(1)
    setting, origin = SETTINGS[size], provenance()
    RESULTS.mkdir(exist_ok=True)
    models = build_models(setting)
    with tempfile.TemporaryDirectory() as folder, results_file(NAME, size).open("a") as file:
        studies = {
            "litert": lambda: measure_litert(setting, models, Path(folder)),
            "onnxruntime": lambda: measure_onnx(setting, models, Path(folder)),
            "rows": lambda: measure_rows(setting),
        }
        for name in setting["runtimes"]:
            for figures in studies[name]():
                file.write(json.dumps({"size": size, **figures, "origin": origin}) + "\n")


if __name__ == "__main__":
    parsed = parse_arguments(__doc__ or "")
    if not parsed.report:
        main(parsed.size)
    report(parsed.size)
