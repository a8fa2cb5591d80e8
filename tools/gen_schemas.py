"""Write docs/asyncapi.yaml and docs/schemas/: ``python -m tools.gen_schemas [--check]``."""

import sys
from pathlib import Path

from bridge.core.topics import Topics
from bridge.exports.asyncapi import asyncapi_yaml
from bridge.exports.message_schemas import as_text, messages, schema_document

DOCS = Path(__file__).parents[1] / "docs"
SCHEMAS = DOCS / "schemas"


def pages() -> dict[Path, str]:
    """Return every generated file with its text."""
    topics = Topics()
    found = {DOCS / "asyncapi.yaml": asyncapi_yaml(topics) + "\n"}
    for message in messages(topics):
        found[SCHEMAS / f"{message.name}.json"] = as_text(schema_document(message)) + "\n"
    return found


def main() -> int:
    """Generate, or compare with what is there; 1 when they differ."""
    wanted = pages()
    left_over = set(SCHEMAS.glob("*.json")) - wanted.keys()
    if "--check" not in sys.argv[1:]:
        SCHEMAS.mkdir(exist_ok=True)
        for path in left_over:
            path.unlink()
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in (*stale, *left_over):
        print(f"{path.name} is out of date: run python -m tools.gen_schemas", file=sys.stderr)
    return 1 if stale or left_over else 0


if __name__ == "__main__":
    sys.exit(main())
