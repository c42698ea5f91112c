import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nasc.devices import LocalCpu, SimulatedDevice, get_device
from nasc.errors import TableError, UsageError
from nasc.kernels import signature
from nasc.measurement import record_environment
from nasc.table import find_table, list_tables, load_table, read_table, table_files
from nasc.table.provenance import SCHEMA, HeldOut, Provenance, family, read_provenance, write_provenance
from nasc.table.rows import Row
from nasc.table.steps import LINE, Steps
from nasc.table.store import locked, write_table

ROWS = [Row(signature("linear", rows=1).at(c_in=64, c_out=10), 1e-5, 1e-7, 2e-5, 3, 90)]
CPU = LocalCpu()


def of(device: LocalCpu | SimulatedDevice) -> Provenance:
    return Provenance(record_environment(device), 1, anchor_s=2e-4, floor_s=5e-7)


def test_a_table_is_found_where_it_was_written() -> None:
    files = table_files(CPU)
    files.folder.mkdir(parents=True)
    write_table(files, ROWS, of(CPU))
    table = load_table("cpu")
    assert list(table.rows.values()) == ROWS
    assert table.anchor_s == 2e-4
    assert table.floor_s == 5e-7
    assert find_table(CPU) == files
    assert files in list_tables()


def test_provenance_survives_a_round_trip() -> None:
    steps = {("conv kernel_h=1", "c_out"): Steps(2, (2, 2), (1, 2)), ("linear", "c_in"): LINE}
    full = replace(of(CPU), steps=steps, held_out=HeldOut(5, 0.01, 0.02, 0.03), updated="2026", warnings=("busy",))
    assert read_provenance(write_provenance(full), "a test") == full
    assert read_provenance(write_provenance(of(CPU)), "a test") == of(CPU)


def test_no_table_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no latency table for simulated") as caught:
        load_table("simulated", folder=tmp_path)
    assert caught.value.hint == "nasc profile --device simulated"


def test_a_table_of_other_threads_is_not_taken(tmp_path: Path) -> None:
    files = table_files(CPU, tmp_path)
    files.folder.mkdir()
    write_table(files, ROWS, of(CPU))
    with pytest.raises(TableError, match="no latency table for cpu") as caught:
        load_table("cpu", threads=2, folder=tmp_path)
    assert caught.value.hint == "nasc profile --device cpu --threads 2"


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", 4), ("runtime", "abacus"), ("dtype", "int8"), ("hardware", "another"), ("origin", "simulated")],
)
def test_a_table_made_under_other_conditions_is_refused(tmp_path: Path, name: str, value: object) -> None:
    files = table_files(CPU, tmp_path)
    files.folder.mkdir()
    provenance = of(CPU)
    write_table(files, ROWS, replace(provenance, environment=replace(provenance.environment, **{name: value})))
    with pytest.raises(TableError, match=f"made with {name} .*; got one made with {value}") as caught:
        load_table("cpu", folder=tmp_path)
    assert caught.value.hint == "nasc profile --device cpu"


def test_a_simulated_table_copied_over_a_measured_one_is_refused(tmp_path: Path) -> None:
    source, target = table_files(SimulatedDevice(), tmp_path), table_files(CPU, tmp_path)
    source.folder.mkdir()
    write_table(source, ROWS, of(SimulatedDevice()))
    shutil.copytree(source.folder, target.folder)
    with pytest.raises(TableError, match="expected a table made with device cpu; got one made with simulated"):
        load_table("cpu", folder=tmp_path)
    assert read_table(target).origin == "simulated"


def test_an_unknown_device_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="unknown device"):
        load_table("pixel99")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema: 99", f"expected table schema {SCHEMA}; got 99"),
        (f"schema: {SCHEMA}", "expected a table's provenance; KeyError"),
        ("just words", "expected a table's provenance"),
        ("{", "expected a table's provenance"),
    ],
)
def test_broken_provenance_is_refused(text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_provenance(text, "table.yaml")


def test_a_second_writer_is_told_to_wait(tmp_path: Path) -> None:
    files = table_files(CPU, tmp_path)
    with locked(files), pytest.raises(TableError, match="another nasc profile is writing"), locked(files):
        pass
    with locked(files):
        pass  # the lock fell


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    with (
        pytest.raises(TableError, match=r"expected to write the table in .*a file") as caught,
        locked(table_files(CPU, blocked)),
    ):
        pass
    assert "NASC_HOME" in caught.value.hint


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    files = table_files(CPU, tmp_path)
    files.folder.mkdir()
    write_table(files, ROWS, of(CPU))
    (tmp_path / "hole").symlink_to("/dev/full")
    part = files.rows.with_suffix(".csv.part")
    part.symlink_to("/dev/full")  # every write there fails with "No space left on device"
    with pytest.raises(TableError, match="No space left on device"):
        write_table(files, [], of(CPU))
    assert list(load_table("cpu", folder=tmp_path).rows.values()) == ROWS


def test_one_row_is_a_family_of_its_own_and_positions_are_not() -> None:
    assert family(signature("linear", rows=1)) != family(signature("linear", rows=2))
    assert family(signature("linear", rows=2)) == family(signature("linear", rows=64))
    small, large = (signature("unary", op="relu", positions=count) for count in (49, 196))
    assert family(small) == family(large) != family(signature("unary", op="tanh", positions=49))


def test_two_names_for_one_device_share_its_table() -> None:
    assert table_files(get_device("cpu")) == table_files(CPU)
