"""Write the table of LED modes in ``docs/access.md`` from the enumeration.

``--check`` writes nothing and ends with status 1 when it is not what it would write.
"""

import sys
from itertools import groupby
from pathlib import Path

from bridge.core.easee.enumerations import LED_MODE

PAGE = Path(__file__).resolve().parent.parent / "docs" / "access.md"
BEGIN, END = "<!-- leds: written by `make docs` -->", "<!-- leds end -->"


def table() -> str:
    """Build the rows, neighbours that mean the same in one."""
    rows = ["| 46 | `led` | `led_color` | `led_pattern` |", "|---|---|---|---|"]
    for mode, group in groupby(sorted(LED_MODE), key=LED_MODE.__getitem__):
        codes = list(group)
        span = f"{codes[0]}" if len(codes) == 1 else f"{codes[0]} to {codes[-1]}"
        shown = " | ".join(
            "-" if word is None else f"`{word}`"
            for word in (mode.meaning, mode.color, mode.pattern)
        )
        rows.append(f"| {span} | {shown} |")
    return "\n".join(rows)


def main() -> int:
    """Write or compare."""
    old = PAGE.read_text(encoding="utf-8")
    head, rest = old.split(BEGIN)
    new = f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    if new != old:
        print("docs/access.md is not what the enumeration says: make docs")
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main())
