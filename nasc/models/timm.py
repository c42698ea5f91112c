"""``timm:NAME``: a model definition of timm, with random weights."""

from torch import nn

from nasc.errors import UsageError, unknown_name
from nasc.models.torchvision import import_torchvision


def load_timm(name: str, num_classes: int, input_channels: int) -> nn.Module:
    """A classification model of timm.

    Args:
        name: As ``timm.list_models()`` lists it.
        num_classes: The number of classes.
        input_channels: Channels of the picture.

    Raises:
        UsageError: timm is not installed, or does not know the name.
    """
    import_torchvision()  # timm imports it; this import knows how to
    try:
        import timm
    except ImportError as failure:
        raise UsageError("timm: names need the package timm", "pip install 'nasc[zoo]'") from failure
    known = timm.list_models()
    if name not in known:
        raise unknown_name("timm model", name, known)
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=input_channels)
    return model
