import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from nasc.artifact import Artifact
from nasc.devices import LocalCpu, SimulatedDevice, Visit
from nasc.errors import TableError
from nasc.exporters import export
from nasc.graph import trace
from nasc.graph.network import Network
from nasc.table import LatencyTable, load_table, profile, table_files

DEVICE = SimulatedDevice(tile=8)


def build(width: int = 20) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, 9, 1)
    )


IMAGE = (torch.zeros(1, 3, 7, 7),)


def trace_model(width: int = 20) -> Network:
    return trace(build(width), IMAGE)


def price(table: LatencyTable, network: Network) -> float:
    return sum(float(table.seconds(kernel.signature, dict(kernel.shape().sizes))) for kernel in network.kernels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables with the simulated device's, for a network of up to 20 and 40 channels."""
    folder = tmp_path_factory.mktemp("tables")
    profile(DEVICE, [trace_model()], folder=folder, progress=False)
    return folder


def test_the_table_prices_every_width_as_the_device_runs_it(folder: Path, tmp_path: Path) -> None:
    table = load_table(DEVICE, folder=folder)
    for width in range(1, 21):
        artifact = export(build(width), IMAGE, tmp_path / "model.tflite")
        exact = DEVICE.run_session([artifact], [Visit(0, runs=1)]).visits[0].samples_s[0]
        network = trace_model(width)
        # the floor of a call is taken off each of the three kernels, so the device's launch cost goes with it
        assert price(table, network) + 3 * table.floor_s == pytest.approx(exact, rel=1e-4)


def test_it_finds_the_devices_tile(folder: Path) -> None:
    table = load_table(DEVICE, folder=folder)
    signature = trace_model().kernels[0].signature
    assert table.steps(signature, "c_out") == 8
    assert table.steps(signature, "c_in") == 1
    assert table.provenance.held_out is not None
    assert table.provenance.held_out.worst_error < 1e-3
    assert table.provenance.complete


def test_what_is_covered_is_not_measured_again(folder: Path) -> None:
    before = table_files(DEVICE, folder).journal.read_bytes()
    result = profile(DEVICE, [trace_model(10)], folder=folder, progress=False)
    assert result.added == 0
    assert table_files(DEVICE, folder).journal.read_bytes() == before


def test_a_table_of_another_schema_is_made_anew_from_its_raw_samples(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    files = table_files(DEVICE, tmp_path)
    rows, samples = files.rows.read_text(), count_sessions(files.journal)
    files.provenance.write_text("schema: 0\n")
    with pytest.raises(TableError, match="expected table schema"):
        load_table(DEVICE, folder=tmp_path)
    assert profile(DEVICE, [trace_model()], folder=tmp_path, progress=False).complete
    assert files.rows.read_text() == rows
    assert count_sessions(files.journal) == samples


def test_a_wider_network_extends_the_table_and_keeps_its_rows(tmp_path: Path) -> None:
    first = profile(DEVICE, [trace_model(8)], folder=tmp_path, progress=False)
    second = profile(DEVICE, [trace_model(30)], folder=tmp_path, progress=False)
    assert set(first.table.rows) < set(second.table.rows)
    assert second.added == second.rows - first.rows > 0
    assert second.table.covers(trace_model().kernels[0].signature, {"c_in": 60, "c_out": 60})


def test_a_spent_budget_leaves_a_usable_table_and_the_next_call_goes_on(tmp_path: Path, folder: Path) -> None:
    result = profile(DEVICE, [trace_model()], folder=tmp_path, progress=False, budget_s=0.0)
    assert not result.complete
    assert "stopped by its budget: some widths are missing" in result.table.provenance.warnings
    finished = profile(DEVICE, [trace_model()], folder=tmp_path, progress=False)
    assert finished.complete
    assert table_files(DEVICE, tmp_path).rows.read_text() == table_files(DEVICE, folder).rows.read_text()


PROGRAM = """
    import sys, torch
    from pathlib import Path
    from torch import nn
    from nasc.devices import SimulatedDevice
    from nasc.graph import trace
    from nasc.table import profile
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 20, 1), nn.ReLU(), nn.Conv2d(20, 40, 1), nn.ReLU(), nn.Conv2d(40, 9, 1))
    network = trace(model, (torch.zeros(1, 3, 7, 7),))
    profile(SimulatedDevice(tile=8), [network], folder=Path(sys.argv[1]), progress=False)
"""


def start_profile(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM), str(folder)], stderr=subprocess.DEVNULL)


def kill_once_written(process: subprocess.Popen[bytes], journal: Path, size: int) -> None:
    while process.poll() is None and (not journal.exists() or journal.stat().st_size < size):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_again_and_again_it_resumes_to_the_same_table_with_no_session_lost_or_doubled(
    tmp_path: Path, folder: Path
) -> None:
    files, whole = table_files(DEVICE, tmp_path), table_files(DEVICE, folder)
    for share in (0.2, 0.7):
        kill_once_written(start_profile(tmp_path), files.journal, int(share * whole.journal.stat().st_size))
        written = count_sessions(files.journal)
        assert written
        assert all(count <= count_sessions(whole.journal)[shape] for shape, count in written.items())
    assert start_profile(tmp_path).wait() == 0
    assert files.rows.read_text() == whole.rows.read_text()
    assert count_sessions(files.journal) == count_sessions(whole.journal)


def count_sessions(journal: Path) -> Counter[str]:
    lines = journal.read_bytes().split(b"\n")[:-1]
    entries = [json.loads(line) for line in lines]
    return Counter(
        json.dumps([entry["kind"], entry["attributes"], entry["sizes"]]) for entry in entries if "kind" in entry
    )


def test_two_profiles_of_one_table_do_not_mix(tmp_path: Path) -> None:
    process = start_profile(tmp_path)
    journal = table_files(DEVICE, tmp_path).journal
    while process.poll() is None and not journal.exists():
        time.sleep(0.002)
    with pytest.raises(TableError, match="another nasc profile is writing"):
        profile(DEVICE, [trace_model()], folder=tmp_path, progress=False)
    process.kill()
    process.wait()


FULL_DISK = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, 250_000))
"""


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path, folder: Path) -> None:
    program = textwrap.dedent(FULL_DISK) + textwrap.dedent(PROGRAM)
    failed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "TableError: expected to write the table in" in failed.stderr
    assert "File too large" in failed.stderr
    files, whole = table_files(DEVICE, tmp_path), table_files(DEVICE, folder)
    assert files.journal.read_bytes().endswith(b"\n")
    assert count_sessions(files.journal)
    profile(DEVICE, [trace_model()], folder=tmp_path, progress=False)
    assert count_sessions(files.journal) == count_sessions(whole.journal)


def test_a_folder_that_cannot_be_written_fails_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TableError, match="expected to write the table in"):
        profile(DEVICE, [trace_model()], folder=tmp_path / "file", progress=False)


def test_kernels_the_format_cannot_express_are_named_and_left_out(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.LayerNorm((8, 7, 7)), nn.Conv2d(8, 9, 1))
    result = profile(DEVICE, [trace(model, IMAGE)], folder=tmp_path, progress=False)
    assert result.complete
    assert result.rows > 0


def test_this_machine_is_profiled_for_a_small_network(tmp_path: Path) -> None:
    network = trace(nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)), (torch.zeros(1, 16),))
    result = profile(LocalCpu(), [network], folder=tmp_path, progress=False, sessions=2, runs=6)
    assert result.complete
    assert result.table.origin == "measured"
    assert 0.0 <= price(result.table, network) < 1e-3
    assert 0.0 < result.table.floor_s < 1e-4


def test_artifacts_of_the_simulated_device_are_real_files(folder: Path, tmp_path: Path) -> None:
    artifact = export(build(), IMAGE, tmp_path / "model.tflite")
    again = Artifact(artifact.path, "litert", (), ())
    assert LocalCpu().run_session([again], [Visit(0, runs=1)]).visits[0].samples_s[0] > 0
