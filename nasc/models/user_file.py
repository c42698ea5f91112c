"""``path/to/file.py:function``: a model from a user's own function."""

import inspect
from typing import Any

from torch import nn

from nasc.errors import ModelError
from nasc.user_file import load_function


def load_user_model(spec: str, **offered: Any) -> nn.Module:
    """What the user's function returns.

    Args:
        spec: ``path/to/file.py:function``; the function returns a module.
        offered: ``num_classes``, ``input_shape``; each is passed on if the function has an argument of that name.

    Raises:
        ModelError: The file, the function or what it returns is not as described.
    """
    function = load_function(spec, error=ModelError)
    parameters = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    arguments = offered if takes_all else {name: value for name, value in offered.items() if name in parameters}
    try:
        model = function(**arguments)
    except Exception as failure:
        raise ModelError(
            f"{spec} fails: {type(failure).__name__}: {failure}", "it must return an nn.Module"
        ) from failure
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"expected {spec} to return an nn.Module, got {type(model).__name__}", "return the model itself"
        )
    return model
