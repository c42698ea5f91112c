import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.errors import TableError
from nasc.kernels import signature
from nasc.table.rows import COLUMNS, Row, parse_value, read_rows, write_rows

SHAPES = [
    signature("linear", rows=1).at(c_in=64, c_out=10),
    signature("linear", rows=1).at(c_in=8, c_out=10),
    signature("unary", op="hard_swish", positions=49).at(channels=96),
]
ROWS = [Row(shape, 1.2345e-5, 3.1e-7, 1.5e-5, 3, 90) for shape in SHAPES]


def test_rows_survive_a_round_trip() -> None:
    assert sorted(read_rows(write_rows(ROWS), "a test"), key=str) == sorted(ROWS, key=str)


def test_the_file_is_sorted_so_that_differences_can_be_read() -> None:
    assert write_rows(ROWS) == write_rows(ROWS[::-1])
    first, second = write_rows(ROWS).splitlines()[1:3]
    assert first.startswith("linear,rows=1,c_in=8 c_out=10,1.2345e-05,")
    assert second.startswith("linear,rows=1,c_in=64 c_out=10,")


@given(st.floats(1e-9, 10.0))
def test_times_keep_five_digits(seconds: float) -> None:
    (row,) = read_rows(write_rows([Row(SHAPES[0], seconds, 0.0, seconds, 1, 1)]), "a test")
    assert row.seconds == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("linear,rows=1,c_in=8 c_out=4,soon,0,1e-6,3,90", "line 2: expected a table row"),
        ("linear,rows=1,c_in=8,1e-6,0,1e-6,3,90", "line 2: expected a table row"),
        ("abacus,rows=1,c_in=8 c_out=4,1e-6,0,1e-6,3,90", "line 2: expected a table row"),
        ("linear,rows=1,c_in=8 c_out=4", "line 2: expected a table row"),
    ],
)
def test_a_broken_line_is_named(line: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_rows(",".join(COLUMNS) + "\n" + line + "\n", "table.csv")


def test_a_row_that_stands_twice_is_refused() -> None:
    text = write_rows(ROWS[:1])
    with pytest.raises(TableError, match=r"line 3: .* stands here twice"):
        read_rows(text + text.splitlines()[1] + "\n", "table.csv")


@pytest.mark.parametrize("text", ["", "a,b,c\n"])
def test_a_file_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(TableError, match="expected the columns kind,attributes"):
        read_rows(text, "table.csv")


def test_values_are_read_as_what_they_look_like() -> None:
    assert [parse_value(text) for text in ("3", "0.5", "relu")] == [3, 0.5, "relu"]
