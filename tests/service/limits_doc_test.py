"""docs/limits.md says what engine/limits.h says."""
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DEFINE = re.compile(r"^#define (OMEN_\w+)\s+(\(.*?\)|[\w.+-]+)", re.M)
# How the graph is laid out and built; no user meets these as limits.
INSIDE = {"OMEN_ROW_LINKS", "OMEN_CELL_SLOTS", "OMEN_CELL_SLOTS_2", "OMEN_REGION_PIVOTS",
          "OMEN_ROUTE_REGIONS", "OMEN_ROUTE_CUT", "OMEN_ROUTE_CUT_3", "OMEN_CELL_SCAN_MAX",
          "OMEN_TAKEOVER_CELLS", "OMEN_EPOCH_BYTES_MIN", "OMEN_EPOCH_BYTES_MAX", "OMEN_LIMITS_H"}


def spellings(value):
    """The ways in which the page may write the constant's value."""
    shifted = re.fullmatch(r"\((\d+)u << (\d+)\)", value)
    if shifted:
        number = int(shifted[1]) << int(shifted[2])
    elif re.fullmatch(r"\d+u", value):
        number = int(value[:-1])
    else:
        return {value.rstrip("f")}
    ways = {f"{number:,}"}
    ways |= {f"{number >> shift} {unit}" for shift, unit in ((10, "KiB"), (20, "MiB"))
             if number % (1 << shift) == 0}
    return ways | ({f"2^{number.bit_length() - 1}"} if number & (number - 1) == 0 else set())


def constants():
    return dict(DEFINE.findall((REPOSITORY / "engine" / "limits.h").read_text()))


def rows():
    for line in (REPOSITORY / "docs" / "limits.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`(OMEN_\w+)`", cells[-1]) if line.startswith("|") else []
        if names:
            yield names, cells[1]


@pytest.mark.parametrize("names,limit", list(rows()), ids=lambda value: str(value)[:40])
def test_a_row_of_the_page_has_the_values_of_its_constants(names, limit):
    known = constants()
    for name in names:
        assert name in known, f"{name} is not in engine/limits.h"
        wanted = spellings(known[name])
        assert any(re.search(rf"(?<![\w,.^-]){re.escape(way)}(?![\w^]|[,.]\d)", limit)
                   for way in wanted), f"{name} is one of {sorted(wanted)}, the page says {limit!r}"


def test_every_limit_that_a_user_can_meet_is_on_the_page():
    told = {name for names, _ in rows() for name in names}
    assert set(constants()) - told <= INSIDE
