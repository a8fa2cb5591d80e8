"""Write the tables of names in ``docs/moving`` from the table of other programs.

``--check`` writes nothing and ends with status 1 when a page is not what it would write.
"""

import sys
from pathlib import Path

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.topics import Topics
from bridge.exports.markdown import table
from bridge.exports.other_names import heads, rows
from bridge.exports.other_projects import PROJECTS, Project
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "moving"
BEGIN, END = "<!-- names: written by `make docs` -->", "<!-- names end -->"
SETTINGS = Settings(
    EaseeSettings("someone@example.com", Secret("-")), commands=CommandSettings(tuple(CATALOGUE))
)


def names(project: Project) -> str:
    """Build the table of one project, for any charger, with every command."""
    return table(heads(project), rows(project, "<id>", Topics(), SETTINGS))


def page(project: Project) -> tuple[Path, str, str]:
    """Return a page, what it says, and what it is to say."""
    path = FOLDER / f"{project.page}.md"
    old = path.read_text(encoding="utf-8")
    head, rest = old.split(BEGIN)
    return path, old, f"{head}{BEGIN}\n\n{names(project)}\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Write or compare."""
    status = 0
    for path, old, new in map(page, PROJECTS.values()):
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            print(f"docs/moving/{path.name} is not what the table of names says: make docs")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
