"""Every exception as one sentence, a hint and an exit status; never a traceback on the terminal."""

import traceback
from dataclasses import dataclass
from typing import ClassVar

import click

from nasc.errors import NascError
from nasc.paths import user_folder

EXTRAS = {
    "litert_torch": "litert",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "onnxruntime": "onnx",
    "timm": "zoo",
    "torchvision": "zoo",
    "transformers": "zoo",
    "PIL": "images",
    "lightning": "lightning",
    "mlflow": "tracking",
    "wandb": "tracking",
}
"""The extra of nasc that brings a package that is not always there."""


@dataclass(frozen=True)
class Failure:
    """How a command ended badly.

    Args:
        message: What was expected and what was got.
        hint: What to do; may be empty.
        status: Exit status.
    """

    message: str
    hint: str
    status: int

    status_of_error: ClassVar[int] = 1
    status_of_usage: ClassVar[int] = 2
    status_of_interrupt: ClassVar[int] = 130


def explain(error: BaseException, resume: str = "") -> Failure:
    """The failure that an exception means to a user.

    Args:
        error: What was raised.
        resume: The command line that goes on where this one stopped, for Ctrl-C.
    """
    match error:
        case NascError():
            return Failure(error.message, error.hint, error.exit_status)
        case click.UsageError():
            return Failure(error.format_message(), _usage_hint(error), Failure.status_of_usage)
        case click.Abort() | KeyboardInterrupt():
            return Failure("stopped", f"resume with: {resume}" if resume else "", Failure.status_of_interrupt)
        case click.ClickException():
            return Failure(error.format_message(), "", Failure.status_of_error)
        case ModuleNotFoundError():
            return _missing_package(error)
        case OSError():
            where = f" ({error.filename})" if error.filename else ""
            sentence = f"the system refused: {error.strerror or error}{where}"
            return Failure(sentence, "check free space, permissions and the path", Failure.status_of_error)
        case _:
            return _unexpected(error)


def _usage_hint(error: click.UsageError) -> str:
    return f"{error.ctx.command_path} --help" if error.ctx else "nasc --help"


def _missing_package(error: ModuleNotFoundError) -> Failure:
    package = (error.name or str(error)).partition(".")[0]
    extra = EXTRAS.get(package)
    hint = f"pip install 'nasc[{extra}]'" if extra else f"pip install {package}"
    return Failure(f"this needs the package {package}, which is not installed", hint, Failure.status_of_error)


def _unexpected(error: BaseException) -> Failure:
    """A bug: keep the traceback in a file, so that it can be reported, and say where."""
    sentence = f"nasc met something it does not know: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    file = user_folder() / "last_traceback.txt"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(traceback.format_exception(error)))
    except OSError:
        return Failure(sentence, "please report it", Failure.status_of_error)
    return Failure(sentence, f"please report it with {file}", Failure.status_of_error)
