"""Targets are read, and numbers written, in the one place that knows units."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.errors import UsageError
from nasc.units import (
    Target,
    format_bytes,
    format_count,
    format_duration,
    format_percent,
    format_seconds,
    parse_target,
)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("8ms", "seconds", 0.008),
        ("800us", "seconds", 0.0008),
        ("800µs", "seconds", 0.0008),
        ("1.5s", "seconds", 1.5),
        (" 8 MS ", "seconds", 0.008),
        ("2e3us", "seconds", 0.002),
        ("-40%", "relative", -0.4),
        ("-12.5 %", "relative", -0.125),
        ("300MMAC", "macs", 300e6),
        ("2GBOP", "bitops", 2e9),
        ("1.2gmacs", "macs", 1.2e9),
        ("2Mparam", "params", 2e6),
        ("500kparams", "params", 500e3),
        ("4MB", "bytes", 4e6),
        ("1MiB", "bytes", 1024**2),
    ],
)
def test_every_documented_form_is_read_in_seconds_bytes_and_counts(text: str, kind: str, value: float) -> None:
    assert parse_target(text) == Target(kind, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("8", "the unit is missing"),
        ("fast", "expected a number and a unit"),
        ("8 bananas", "unknown unit 'bananas'"),
        ("8MM", "unknown unit 'MM'"),
        ("0ms", "expected a positive amount"),
        ("-8ms", "expected a positive amount"),
        ("1e999ms", "expected a positive amount"),
        ("40%", "with a minus"),
        ("-100%", "between -100% and 0%"),
        ("", "expected a number and a unit"),
        ("nanms", "expected a number and a unit"),
    ],
)
def test_what_is_no_target_is_refused_with_the_reason_and_the_accepted_forms(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match="cannot read the target") as caught:
        parse_target(text)
    assert reason in caught.value.message
    assert "8ms, 800us" in caught.value.hint
    assert caught.value.exit_status == 2


def test_a_relative_target_is_a_share_of_the_dense_latency() -> None:
    assert parse_target("-40%").limit(dense=0.02) == pytest.approx(0.012)
    assert parse_target("-40%").unit == "seconds"
    assert parse_target("8ms").limit(dense=123.0) == 0.008


@given(st.sampled_from(["seconds", "macs", "params", "bytes"]), st.floats(1e-9, 1e12))
def test_a_target_written_as_text_reads_back_to_three_digits(kind: str, value: float) -> None:
    if kind != "seconds":
        value = max(1.0, value)
    target = Target(kind, float(f"{value:.3g}"))  # type: ignore[arg-type]
    again = parse_target(str(target))
    assert again.kind == kind
    assert again.value == pytest.approx(target.value, rel=5.1e-3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 ms"),
        (1.5, "1.50 s"),
        (0.0080312, "8.03 ms"),
        (0.80312, "803 ms"),
        (8.0312e-05, "80.3 us"),
        (3e-9, "3.00 ns"),
        (3e-11, "0.03 ns"),
        (-0.002, "-2.00 ms"),
        (0.99999e-3, "1.00 ms"),
        (math.nan, "unknown"),
    ],
)
def test_seconds_are_written_with_three_digits_in_the_unit_that_suits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_spread_is_written_in_the_unit_of_its_value() -> None:
    assert format_seconds(0.00803, spread_s=0.00004) == "8.03 ± 0.04 ms"
    assert format_seconds(0.803, spread_s=0.004) == "803 ± 4.0 ms"


def test_counts_bytes_percent_and_durations_read_well() -> None:
    assert format_count(3_204_000, "MAC") == "3.20 MMAC"
    assert format_count(12, "param") == "12 param"
    assert format_count(999_999) == "1.00 M"
    assert format_bytes(512) == "512 B"
    assert format_bytes(64_200) == "64.2 kB"
    assert format_percent(0.5) == "50.0 %"
    assert format_percent(0.9137, stderr=0.0041) == "91.4 ± 0.4 %"
    assert [format_duration(s) for s in (3.2, 42, 61, 3725)] == ["3.20 s", "42 s", "1 min 1 s", "1 h 2 min"]
