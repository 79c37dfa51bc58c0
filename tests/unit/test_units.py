"""Sizes, counts and durations for people."""

from __future__ import annotations

import pytest

from kaiwo import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (1_536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 40, "1.0 TiB"),
        (5_000 << 40, "5000.0 TiB"),
    ],
)
def test_bytes_are_shown_in_binary_units(count: float, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3_599.6, "1 h 00 min"),
        (90_061, "25 h 01 min"),
    ],
)
def test_durations_are_shown_in_words(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1_023, "1,023 bytes"),
        (1_024, "1.0 KiB (1,024 bytes)"),
        (413_696, "404.0 KiB (413,696 bytes)"),
        (5_000 << 40, "4.9 PiB (5,497,558,138,880,000 bytes)"),
        (5_000 << 50, "5000.0 PiB (5,629,499,534,213,120,000 bytes)"),
    ],
)
def test_where_room_is_short_the_exact_number_is_shown_too(count: int, text: str) -> None:
    assert units.exact_size(count) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 retries"), (1, "1 retry"), (2, "2 retries")])
def test_a_count_has_its_noun(number: int, text: str) -> None:
    assert units.count(number, "retry", "retries") == text
    assert units.count(number, "file") == f"{number} file{'' if number == 1 else 's'}"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("200M", 200_000_000),
        ("200m", 200_000_000),
        ("1.5Gi", 3 << 29),
        ("1.5gi", 3 << 29),
        ("512Ki", 512 << 10),
        (".5k", 500),
        ("20MB/s", 20_000_000),
        ("20 MiB/s", 20 << 20),
        (" 2T ", 2_000_000_000_000),
        ("1000000", 1_000_000),
        ("0", 0),
    ],
)
def test_a_rate_is_read_as_people_write_it(text: str, rate: int) -> None:
    assert units.rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "M",
        "-5M",
        "20Mb",
        "20Mb/s",
        "20Mbit",
        "20mbps",
        "5i",
        "1,5M",
        "1e6",
        "2 00M",
        "inf",
    ],
)
def test_what_is_no_rate_in_bytes_is_none(text: str) -> None:
    assert units.rate(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("2.5", 2.5),
        ("90s", 90),
        ("90 sec", 90),
        ("15m", 900),
        ("15 min", 900),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("0.5H", 1800),
        ("1d", 86_400),
        ("1 day 2 hours", 93_600),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert units.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "h", "1x", "m1", "30m1h", "1..5s", "1h30", "-1h"])
def test_what_is_no_duration_states_none(text: str) -> None:
    assert units.seconds(text) is None


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_774_958_400.9999, "2026-03-31T12:00:00.999Z"),
        (1_774_958_401, "2026-03-31T12:00:01.000Z"),
    ],
)
def test_a_time_is_shown_as_rfc_3339_has_it(seconds: float, shown: str) -> None:
    assert units.timestamp(seconds) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("data/[red]ñ 日本 🚀.csv", "data/[red]ñ 日本 🚀.csv"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\u202eright", "\\u202eright"),
        ("no utf-8 \udcff", "no utf-8 \\udcff"),
    ],
)
def test_a_name_is_shown_so_that_it_harms_no_terminal(name: str, shown: str) -> None:
    assert units.printable(name) == shown
