"""Write docs/topics.md from the program's tables: ``python -m tools.gen_topics [--check]``."""

import sys
from pathlib import Path

from bridge.core.topics import Topics
from bridge.exports.topic_reference import topic_reference

PAGE = Path(__file__).parents[1] / "docs" / "topics.md"


def main() -> int:
    """Generate, or compare with what is there; 1 when they differ."""
    text = topic_reference(Topics())
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE.name} is out of date: run python -m tools.gen_topics", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
