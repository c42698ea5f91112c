"""The bundle: everything that times LiteRT models on a Linux or Android machine, put together on this one.

LiteRT's library out of its wheel, nasc's own runner, the C library and its loader: started through that loader, it needs
nothing of the machine it is pushed to but a kernel and a shell.
"""

from nasc.devices.bundle.build import ARCHITECTURES, Bundle, build_bundle, find_bundle

__all__ = ["ARCHITECTURES", "Bundle", "build_bundle", "find_bundle"]
