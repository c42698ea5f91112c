"""nasc: a PyTorch model, a device and a latency target in; a smaller model that meets the target out."""

__version__ = "0.1.0"
