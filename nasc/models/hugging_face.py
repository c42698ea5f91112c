"""``hf:FOLDER_OR_CONFIG``: an image classifier of transformers, built from its ``config.json``."""

import importlib.util
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nasc.errors import ModelError, UsageError
from nasc.models.torchvision import import_torchvision


class LogitsOnly(nn.Module):
    """A transformers model that returns its class scores as a tensor.

    Args:
        model: Returns an object with ``logits``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Class scores ``(batch, classes)`` of pictures ``(batch, channels, height, width)``."""
        logits: Tensor = self.model(pixel_values=x, return_dict=True).logits
        return logits


def load_hugging_face(path: Path, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
    """An image classifier from a configuration, with random weights.

    Args:
        path: ``config.json``, or the folder it is in. No code from the folder is run.
        num_classes: The number of classes.
        input_shape: (channels, height, width); sets the configuration's picture size where it has one.

    Raises:
        UsageError: transformers is not installed.
        ModelError: There is no configuration, or it is not of an image classifier.
    """
    if importlib.util.find_spec("transformers") is None:
        raise UsageError("hf: names need the package transformers", "pip install 'nasc[zoo]'")
    if importlib.util.find_spec("torchvision") is not None:
        import_torchvision()  # transformers imports it when it is installed; this import knows how to
    import transformers

    source = path / "config.json" if path.is_dir() else path
    if not source.is_file():
        raise ModelError(f"expected a transformers configuration at {source}, found none", "give its folder or file")
    try:
        config: Any = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=True)
        _fit(config, num_classes, input_shape)
        model = transformers.AutoModelForImageClassification.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError) as failure:
        reason = str(failure).splitlines()[0]
        raise ModelError(f"{source} is not the configuration of an image classifier: {reason}") from failure
    return LogitsOnly(model)


def _fit(config: Any, num_classes: int, input_shape: tuple[int, ...]) -> None:
    """Set classes, channels and picture size, the latter two where the configuration has them."""
    channels, height, width = input_shape
    config.num_labels = num_classes
    if hasattr(config, "num_channels"):
        config.num_channels = channels
    if hasattr(config, "image_size"):
        pair = isinstance(config.image_size, (list, tuple))
        config.image_size = [height, width] if pair else height
