"""Two tables of one device: what changed, and one made of both."""

from dataclasses import replace

import pytest

from nasc.errors import TableError
from nasc.kernels import signature
from nasc.table import LatencyTable, compare_tables, merge_tables
from nasc.table.rows import Row

LINEAR = signature("linear", rows=1)
POOL = signature("global_pool", op="mean", height=4, width=4)
SHAPES = [LINEAR.at(c_in=8, c_out=size) for size in (8, 16, 32)] + [POOL.at(channels=16)]


def scaled(table: LatencyTable, factor: float, **changes: object) -> LatencyTable:
    rows = {
        shape: replace(row, seconds=factor * row.seconds, gap_s=factor * row.gap_s) for shape, row in table.rows.items()
    }
    return LatencyTable(rows, replace(table.provenance, **changes))  # type: ignore[arg-type]


@pytest.fixture
def table(provenance) -> LatencyTable:
    rows = [Row(shape, 1e-5 * (index + 1), 1e-7, 2e-5, 3, 90) for index, shape in enumerate(SHAPES)]
    return LatencyTable.from_rows(rows, provenance)


def test_a_table_does_not_differ_from_itself(table):
    drift = compare_tables(table, table)
    assert drift.total.rows == 4
    assert drift.total.worst == drift.total.median == drift.anchor == 0
    assert set(drift.kinds) == {"linear", "global_pool"}


def test_another_clock_is_no_drift_but_is_told(table):
    slower = scaled(table, 1.2, anchor_s=1.2e-3)
    drift = compare_tables(table, slower)
    assert drift.total.worst == pytest.approx(0, abs=1e-9)
    assert drift.anchor == pytest.approx(0.2)


def test_kernels_that_changed_are_found_by_kind(table):
    rows = {s: replace(row, seconds=1.1 * row.seconds) if s.kind == "linear" else row for s, row in table.rows.items()}
    drift = compare_tables(table, LatencyTable(rows, table.provenance))
    assert drift.kinds["linear"].median == pytest.approx(0.1)
    assert drift.kinds["global_pool"].worst == 0
    assert drift.total.beyond_errors == pytest.approx(0.75)


def test_rows_that_only_one_has_are_counted_and_not_compared(table):
    fewer = LatencyTable({shape: table.rows[shape] for shape in SHAPES[1:]}, table.provenance)
    drift = compare_tables(table, fewer)
    assert (drift.total.rows, drift.only_before, drift.only_after) == (3, 1, 0)


def test_rows_far_below_an_empty_call_tell_nothing(table, provenance):
    tiny = {shape: replace(row, seconds=1e-9) for shape, row in table.rows.items()}
    with pytest.raises(TableError, match="in common"):
        compare_tables(LatencyTable(tiny, provenance), LatencyTable(tiny, provenance))


def test_a_merged_table_has_every_row_and_the_better_of_two(table):
    worse, better = SHAPES[0], SHAPES[1]
    rows = {
        worse: replace(table.rows[worse], seconds=9e-5, gap_s=5e-5),
        better: replace(table.rows[better], seconds=2.1e-5, gap_s=1e-9),
        LINEAR.at(c_in=9, c_out=9): replace(table.rows[worse], shape=LINEAR.at(c_in=9, c_out=9)),
    }
    merged = merge_tables(table, LatencyTable(rows, table.provenance))
    assert len(merged.rows) == 5
    assert merged.rows[worse] == table.rows[worse]
    assert merged.rows[better].seconds == 2.1e-5


def test_merging_puts_rows_on_the_scale_of_the_first(table):
    fewer = LatencyTable({SHAPES[0]: table.rows[SHAPES[0]]}, table.provenance)
    merged = merge_tables(fewer, scaled(table, 1.5, anchor_s=1.5e-3))
    assert merged.rows[SHAPES[2]].seconds == pytest.approx(table.rows[SHAPES[2]].seconds)


@pytest.mark.parametrize(("field", "value"), [("threads", 4), ("hardware", "other"), ("dtype", "int8")])
def test_tables_of_other_conditions_are_refused_by_name(table, field, value):
    environment = replace(table.provenance.environment, **{field: value})
    other = LatencyTable(table.rows, replace(table.provenance, environment=environment))
    for pair in ((table, other), (other, table)):
        with pytest.raises(TableError, match=field):
            compare_tables(*pair)
        with pytest.raises(TableError, match=field):
            merge_tables(*pair)
