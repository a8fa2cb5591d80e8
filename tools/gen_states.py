"""Draw the life of a command in docs/commands.md: ``python -m tools.gen_states [--check]``.

The page is written by hand; only what stands between the two marks is drawn, from the table that
the program runs on.
"""

import sys
from pathlib import Path

from bridge.core.commands.state_machine import FINAL, TRANSITIONS, State

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
BEGIN, END = "<!-- states: begin -->\n", "<!-- states: end -->\n"


def diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.RECEIVED.value}"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {state.value} --> {to.value}: {step.value}" for step, to in row.items()]
    lines += [f"    {state.value} --> [*]" for state in State if state in FINAL]
    return "\n".join([*lines, "```", ""])


def page(text: str) -> str:
    """Put the diagram into the page."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{diagram()}{END}{tail}"


def main() -> int:
    """Draw, or compare with what is there; 1 when they differ."""
    held = PAGE.read_text(encoding="utf-8")
    text = page(held)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if text == held:
        return 0
    print(f"{PAGE.name} is out of date: run python -m tools.gen_states", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
