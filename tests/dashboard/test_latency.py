from pathlib import Path

import pytest

from nasc.dashboard.latency import GridInfo, read_table, read_tables

HEAD = "kind,attributes,sizes,best_s,gap_s,cold_s,sessions,runs\n"
CONV = (
    "height=8 width=8 kernel_h=3 kernel_w=3 stride_h=2 stride_w=2 pad_top=1 pad_bottom=1 pad_left=1 pad_right=1 "
    "dilation_h=1 dilation_w=1"
)


@pytest.fixture
def table(nasc_home: Path) -> Path:
    path = nasc_home / "latency_tables" / "cpu-here" / "litert-float32-t1.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        HEAD + f"conv,{CONV},c_in=8 c_out=16,2e-5,0,1e-5,3,90\nconv,{CONV},c_in=8 c_out=8,1e-5,0,1e-5,3,90\n"
        "linear,rows=1,c_in=4 c_out=10,3e-6,0,3e-6,3,90\n"
    )
    return path


def test_rows_are_gathered_by_kernel_and_kernels_are_named_as_people_name_them(table: Path) -> None:
    assert read_table(table, "here").grids == (
        GridInfo("conv 3x3 /2 on 8x8", ("c_in", "c_out"), ((8, 8, 1e-5), (8, 16, 2e-5))),
        GridInfo("linear rows=1", ("c_in", "c_out"), ((4, 10, 3e-6),)),
    )


def test_only_tables_of_the_devices_that_runs_were_measured_on_are_read(table: Path) -> None:
    assert [found.rows for found in read_tables(["cpu"], [])] == [3]
    assert read_tables(["phone"], []) == ()


def test_a_damaged_table_is_a_sentence(table: Path) -> None:
    table.write_text(HEAD + "conv,,c_in=eight,1e-5,0,1e-5,3,90\n")
    problems: list[str] = []
    assert read_tables(["cpu"], problems) == ()
    assert len(problems) == 1
    assert str(table) in problems[0]
