"""local zone: TZ in each of its forms, /etc/localtime, UTC."""

from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_runtime.system.local_zone import find_local_zone

SUMMER, WINTER = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def offsets_h(zone):
    return tuple(at.astimezone(zone).utcoffset().total_seconds() / 3600 for at in (SUMMER, WINTER))


@pytest.fixture
def berlin(tmp_path):
    for folder in ("/usr/share/zoneinfo", "/usr/lib/zoneinfo"):
        if (Path(folder) / "Europe/Berlin").is_file():
            data = (Path(folder) / "Europe/Berlin").read_bytes()
            break
    else:
        data = files("tzdata.zoneinfo.Europe").joinpath("Berlin").read_bytes()
    file = tmp_path / "localtime"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Europe/Berlin", (2, 1)), (":Europe/Berlin", (2, 1)), ("America/New_York", (-4, -5)), ("UTC", (0, 0)),
        ("CET-1CEST,M3.5.0,M10.5.0/3", (2, 1)), ("EST5EDT,M3.2.0,M11.1.0", (-4, -5)), ("<+0545>-5:45", (5.75, 5.75)),
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", (10, 11)), ("", (0, 0)), (":", (0, 0)), ("No/Where", (0, 0)),
        ("../../etc/passwd", (0, 0)), ("/nowhere", (0, 0)), ("Europe", (0, 0)),
        ("x" * 5000, (0, 0)), ("\udcff", (0, 0)),
    ],
)  # fmt: skip
def test_tz_counts_first(name, expected, berlin):
    assert offsets_h(find_local_zone({"TZ": name}, berlin)) == expected


def test_without_tz_the_file_counts_and_without_that_utc(berlin, tmp_path):
    assert offsets_h(find_local_zone({}, berlin)) == (2, 1)
    assert offsets_h(find_local_zone({"TZ": f":{berlin}"}, tmp_path / "none")) == (2, 1)
    assert find_local_zone({}, tmp_path / "none") is UTC
    (tmp_path / "damaged").write_bytes(b"TZif2" + bytes(10))
    assert find_local_zone({}, tmp_path / "damaged") is UTC
    (tmp_path / "text").write_bytes(b"no zone")
    assert find_local_zone({}, tmp_path / "text") is UTC


def test_zones_are_those_of_zoneinfo():
    assert find_local_zone({"TZ": "Europe/Berlin"}) == ZoneInfo("Europe/Berlin")
