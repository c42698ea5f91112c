import subprocess
import sys
from pathlib import Path

import pytest

from nasc.errors import RunError
from nasc.training import lock_run

ATTEMPT = """
import sys
from pathlib import Path
from nasc.errors import RunError
from nasc.training.lock import lock_run
try:
    with lock_run(Path(sys.argv[1])):
        print("taken")
except RunError as error:
    print("refused")
"""


def attempt(folder):
    command = [sys.executable, "-c", ATTEMPT, str(folder)]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout


def test_a_folder_is_held_until_the_end_and_made_if_it_is_not_there(tmp_path):
    folder = tmp_path / "deep" / "run"
    with lock_run(folder):
        assert attempt(folder) == "refused\n"
        with lock_run(folder):  # the pipeline holds it around the loop, which takes it again
            pass
        assert attempt(folder) == "refused\n"
    assert attempt(folder) == "taken\n"


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"), lock_run(tmp_path / "file" / "run"):
        pass
