"""Write ``config.example.yaml`` and ``docs/configuration.md`` from the table of keys.

``--check`` writes nothing and ends with status 1 when one of them is not what it would write.
"""

import sys
import textwrap
from pathlib import Path

from bridge.config.keys import BY_PATH, KEYS, REQUIRED, SECTIONS, Key

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "config.example.yaml"
REFERENCE = ROOT / "docs" / "configuration.md"
WIDTH = 96

EXAMPLE_HEAD = """\
# charger-bridge: every key, with its default and unit. Written by `make docs`; do not edit.
#
# Copy it, keep the keys you change and delete the rest: missing keys have their default. Required
# are easee.username and easee.password_file. `charger-bridge check --config FILE` validates
# the configuration. docs/configuration.md has the environment variables of the same keys.
"""

REFERENCE_HEAD = """\
# Configuration

<!-- Written by `make docs` from bridge/config/keys.py; do not edit. -->

One YAML file, given by `--config FILE`; [`config.example.yaml`](../config.example.yaml) has every
key. `charger-bridge check --config FILE` validates the file and lists all problems, each with the
path of its key; with `--connect` it also logs in once and connects to the broker once.

- **Precedence**: environment, file, default. Without `--config` only the environment and the
  defaults apply.
- **Environment**: `CHARGER_BRIDGE_<SECTION>__<KEY>`, e.g. `CHARGER_BRIDGE_MQTT__TLS__CA_FILE`.
  Lists are comma separated or written as in YAML; an empty variable means "none" where a key may
  be `null`. An unknown variable with the prefix `CHARGER_BRIDGE_` is an error.
- **Secrets** are not allowed in the YAML file. They are read from the file given by the key with
  `_file` (or its variable, e.g. `CHARGER_BRIDGE_EASEE__PASSWORD_FILE`), or from their own variable.
- **Strict parsing**: unknown keys, duplicate keys, anchors, aliases and tags are errors, numbers
  are plain decimals, and texts are not interpreted, so `version: 5` and
  `username: +4712345678` need no quotes. A file is at most 256 KiB.
- **Paths** are relative to the directory of the YAML file, in the environment to the working
  directory.
- **Addresses**: `http://` and `ws://` are allowed for loopback hosts only. MQTT without TLS to a
  host that is neither loopback nor private (RFC 1918, ULA and link-local addresses, names without a
  dot or under `.local`, `.lan`, `.home.arpa`, `.internal`) is refused unless
  `mqtt.tls.allow_plaintext` is true.
- **Reload**: on SIGHUP (`systemctl reload`) the file is read again. `commands.*`, `log.*`,
  `easee.chargers` and `easee.names` take effect at once, other changes at the next restart. An
  invalid file changes nothing; `bridge/alert/configuration` reports it.

With an invalid configuration the program exits with status 78 before it connects.
"""


def shown_default(key: Key) -> str:
    """Write a key's default as YAML."""
    match key.default:
        case None:
            return "null"
        case bool() as switch:
            return "true" if switch else "false"
        case tuple() if key.kind.pairs:
            return "{}"
        case tuple() as items:
            return f"[{', '.join(items)}]"
        case str() as text if key.path == "mqtt.version":
            return f'"{text}"' if text[0].isdigit() else text
        case other:
            return str(other)


def example() -> str:
    """Write the example file."""
    lines = [EXAMPLE_HEAD]
    section = ""
    for key in KEYS:
        if key.secret:
            continue
        parent, _, name = key.path.rpartition(".")
        if parent != section:
            lines += section_head(parent, new_block="." not in parent)
            section = parent
        pad = "  " * key.path.count(".")
        lines += comment(f"{key.doc} {facts(key)}", pad)
        lines.append(f"{pad}{name}: {key.example or shown_default(key)}")
    return "\n".join(lines) + "\n"


def section_head(path: str, *, new_block: bool) -> list[str]:
    """Write the line that opens a section, with its comment."""
    pad = "  " * path.count(".")
    name = path.rpartition(".")[2]
    return [*([""] if new_block else []), *comment(SECTIONS[path], pad), f"{pad}{name}:"]


def facts(key: Key) -> str:
    """Return allowed values, unit and default in parentheses."""
    words = [key.kind.text]
    if key.unit:
        words.append(f"in {key.unit}")
    words.append("required" if is_required(key) else f"default {shown_default(key)}")
    return f"({'; '.join(words)})"


def is_required(key: Key) -> bool:
    """Return whether a key, or the secret its file holds, is required."""
    secret = BY_PATH.get(key.path.removesuffix("_file"), key)
    return secret.default is REQUIRED


def required(key: Key) -> str:
    """Return the text for a required key; a secret or its file is sufficient."""
    name = key.path.rpartition(".")[2]
    if key.secret:
        return f"this or `{name}_file`"
    return f"this or `{name.removesuffix('_file')}`" if name.endswith("_file") else "required"


def comment(text: str, pad: str) -> list[str]:
    """Break a text into comment lines."""
    return textwrap.wrap(text, WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")


def reference() -> str:
    """Write the reference page."""
    lines = [REFERENCE_HEAD]
    for path, about in {"": "Keys without a section.", **SECTIONS}.items():
        lines += [f"## `{path}`" if path else "## General", "", about, ""]
        lines += ["| key | meaning | allowed | default | variable |", "|---|---|---|---|---|"]
        lines += [row(key) for key in KEYS if key.path.rpartition(".")[0] == path]
        lines.append("")
    return "\n".join(lines)


def row(key: Key) -> str:
    """Write one row of the reference."""
    allowed = f"{key.kind.text} ({key.unit})" if key.unit else key.kind.text
    default = required(key) if is_required(key) else f"`{shown_default(key)}`"
    doc = key.doc.replace("<", "&lt;").replace(">", "&gt;")
    name = key.path.rpartition(".")[2]
    where = f"`{key.variable}`"
    return f"| `{name}` | {doc} | {allowed} | {default} | {where} |"


def main(arguments: list[str]) -> int:
    """Write both files, or check them."""
    stale = 0
    for path, text in ((EXAMPLE, example()), (REFERENCE, reference())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is stale: run `make docs`")
            stale = 1
        else:
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
