"""The finished model on disk: ``model.py`` (what it does), ``model.safetensors`` (weights), ``model.json`` (a card).

``model.py`` runs on its own (``from model import load``), without nasc. It is code, so load only what you trust; for a
folder of unknown origin :func:`load_model` still runs nothing but what nasc itself could have written (see
:mod:`nasc.materialise.grammar`).
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

import nasc
from nasc.artifact import TensorSpec
from nasc.errors import ModelError, RunError
from nasc.materialise.generated import build, source_of
from nasc.materialise.grammar import check_source
from nasc.materialise.source import Source

FORMAT = 1
_SOURCE, _WEIGHTS, _CARD = "model.py", "model.safetensors", "model.json"


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    """One input of the model; the batch, axis 0, is free."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class _Card(msgspec.Struct, forbid_unknown_fields=True):
    """The content of ``model.json``."""

    format: int
    made_by: str
    class_name: str
    inputs: tuple[_Input, ...]
    sha256: dict[str, str]


def save_model(module: nn.Module, folder: str | Path) -> dict[str, Path]:
    """Save a model that :func:`nasc.materialise.materialise` or :func:`load_model` made, trained on or not.

    The files are written together or not at all; ``model.json`` names the others' hashes.

    Args:
        module: The model; its present weights are saved.
        folder: Made where missing; files of an earlier model in it are replaced.

    Returns:
        The three files by name.

    Raises:
        ModelError: The module was not made by nasc.
        RunError: The folder cannot be written.
    """
    source = source_of(module)
    folder = Path(folder)
    contents = {_SOURCE: source.text.encode(), _WEIGHTS: tensors_to_bytes(_tensors(module))}
    card = _Card(
        format=FORMAT,
        made_by=f"nasc {nasc.__version__}",
        class_name=source.class_name,
        inputs=tuple(_Input(spec.name, spec.shape, spec.dtype) for spec in source.inputs),
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    contents[_CARD] = json.dumps(msgspec.to_builtins(card), indent=2).encode() + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_together(folder, contents)
    except OSError as error:
        message = f"expected a folder that can be written; {folder} gave: {error}"
        raise RunError(message, "choose another --out") from error
    return {name: folder / name for name in contents}


def load_model(folder: str | Path) -> nn.Module:
    """A model that :func:`save_model` saved, in evaluation mode.

    ``model.py`` is run only where its hash is the one in ``model.json`` *and* every line is of the kind nasc writes:
    layers of ``torch.nn``, operations of torch, nothing else. Who edited it imports it: ``from model import load``.

    Raises:
        ModelError: A file is missing, changed, of a newer format, or says more than nasc writes.
    """
    folder = Path(folder)
    card = _read_card(folder)
    text = _read(folder, _SOURCE, card).decode()
    check_source(text, str(folder / _SOURCE))
    weights = _read(folder, _WEIGHTS, card)
    inputs = tuple(TensorSpec(spec.name, spec.shape, spec.dtype) for spec in card.inputs)
    try:
        module = build(Source(text, card.class_name, inputs), tensors_from_bytes(weights))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"expected {_SOURCE} and {_WEIGHTS} in {folder} to fit; got {type(error).__name__}: {error}",
            "save the model again",
        ) from error
    return module.eval()


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    held: Mapping[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in held.items()}


def _write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of one folder whole or not at all: only when each is on the disk do they take their names."""
    staged: dict[str, Path] = {}
    try:
        for name, content in contents.items():
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
            staged[name] = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            staged[name].chmod(0o644)
        for name, temporary_path in staged.items():
            temporary_path.replace(folder / name)
    finally:
        for temporary_path in staged.values():
            temporary_path.unlink(missing_ok=True)


def _read_card(folder: Path) -> _Card:
    path = folder / _CARD
    if not path.is_file():
        raise ModelError(f"expected a saved model in {folder}; got no {_CARD}", "give the folder that save_model wrote")
    try:
        found: Any = msgspec.json.decode(path.read_bytes())
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > FORMAT:
            raise ModelError(f"expected format {FORMAT} in {path}; got {found['format']}", "load it with a newer nasc")
        return msgspec.convert(found, _Card)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"expected {path} as save_model wrote it; got: {error}", "save the model again") from error


def _read(folder: Path, name: str, card: _Card) -> bytes:
    """A file's bytes, once their hash is known to be the card's; what was checked is what is used."""
    path = folder / name
    if not path.is_file():
        raise ModelError(f"expected {name} beside {_CARD} in {folder}; got none", "save the model again")
    content = path.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), card.sha256.get(name, "none")
    if found != expected:
        raise ModelError(
            f"expected {path} to have the hash in {_CARD} ({expected[:12]}...); got {found[:12]}...",
            "it was changed after saving: if the change is yours, import the file yourself (from model import load)",
        )
    return content
