"""The first check of every data set that lives in a folder."""

from pathlib import Path

from nasc.errors import DataError


def existing_folder(folder: Path, what: str, hint: str) -> Path:
    """``folder``, if it is one.

    Args:
        folder: Where the user says the data are.
        what: The name of the data set, for the message.
        hint: What the folder must hold.

    Raises:
        DataError: It does not exist, or is a file.
    """
    if not folder.exists():
        raise DataError(f"expected the {what} files in {folder}, but there is no such folder", hint)
    if not folder.is_dir():
        raise DataError(f"expected a folder with the {what} files, but {folder} is a file", hint)
    return folder
