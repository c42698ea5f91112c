"""``.pt2`` archives (``torch.export``) for deployment, loaded only through a guard.

``torch.export.load`` of a crafted archive executes code: it unpickles ``sample_inputs`` and every tensor marked
``use_pickle``, hands shape expressions to ``sympy.sympify`` (which evaluates them), imports modules named in structure
specs, and pastes conditions and names of inputs into Python source. :func:`load_pt2` reads the archive without any of
that, lets through only what an ordinary exported model consists of, and gives torch a fresh archive made of what it
read, so that a file cannot show the guard one content and torch another.
"""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasc.errors import ModelError
from nasc.graph.program import evaluating
from nasc.materialise.pt2_guard import read_archive
from nasc.records import write_atomic

_MIN_BATCH = 2  # the exporter takes a batch of one for a constant


def save_pt2(module: nn.Module, example_inputs: tuple[Any, ...], path: str | Path) -> Path:
    """Save a model as a ``.pt2`` archive, for evaluation, with a free batch size where the model allows it.

    Args:
        module: Any module; its mode is left as it is.
        example_inputs: Inputs of any batch size; tensors have the batch first.
        path: Ends in ``.pt2``; written whole or not at all.

    Raises:
        ModelError: The model cannot be exported.
        RunError: The file cannot be written.
    """
    path = Path(path)
    program = _export(module, example_inputs)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files of the machine that exported
        node.meta.pop("from_node", None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    content = buffer.getvalue()
    read_archive(content, str(path))  # nobody is given a file that load_pt2 would refuse
    write_atomic(path, content)
    return path


def load_pt2(path: str | Path) -> torch.export.ExportedProgram:
    """Load a ``.pt2`` archive that cannot run code; ``.module()`` of the result is the model.

    Raises:
        ModelError: No such file, no ``.pt2`` archive, or one that holds more than tensors and operators of torch's own
            library; the message names what.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"expected a .pt2 file; got {path}, which is not a file", "give the file that save_pt2 wrote")
    entries = read_archive(path.read_bytes(), str(path))
    try:
        return torch.export.load(_fresh_archive(entries))
    except Exception as error:  # whatever torch makes of a broken file, the user gets one sentence
        raise ModelError(
            f"expected {path} to be an exported model; torch {torch.__version__} says: {_first_line(error)}",
            "export the model again with this version of torch",
        ) from error


def _export(module: nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    with evaluating(module):
        try:
            return _export_free(module, inputs)
        except Exception:  # a model with a fixed batch size is exported with it
            try:
                return torch.export.export(module, inputs, strict=False)
            except Exception as error:
                raise ModelError(
                    f"expected a model that torch.export takes; {type(module).__name__} gave: {_first_line(error)}",
                    "see the message; control flow that depends on data has to go",
                ) from error


def _export_free(module: nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    """The program with axis 0 of every input free."""
    larger = tuple(_at_least(value, _MIN_BATCH) for value in inputs)
    return torch.export.export(
        module, larger, dynamic_shapes=tuple({0: torch.export.Dim.AUTO} for _ in inputs), strict=False
    )


def _at_least(value: torch.Tensor, batch: int) -> torch.Tensor:
    return value if value.shape[0] >= batch else value.repeat(batch, *([1] * (value.dim() - 1)))


def _fresh_archive(entries: dict[str, bytes]) -> io.BytesIO:
    """A new archive of what was checked, written by torch's own writer."""
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    writer.set_min_version(6)
    for name, content in entries.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    buffer.seek(0)
    return buffer


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
