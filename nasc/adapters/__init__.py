"""Other people's training loops: one added line compresses what they train to a target.

``nasc.adapters.lightning.Compress`` and ``nasc.adapters.hugging_face.Compress`` are callbacks; both need the package whose
loop they join.
"""

from importlib.util import find_spec

if find_spec("torchvision") is not None:
    # Both packages import torchvision where it is installed, and on a build of torch without its operators only this
    # import of it works.
    from nasc.models.torchvision import import_torchvision

    import_torchvision()
