"""The official AsyncAPI parser, from npm, reads what we say of ourselves."""

import gzip
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from bridge.core.topics import Topics
from bridge.exports.asyncapi import asyncapi_yaml
from bridge.exports.message_schemas import messages

FOLDER = Path(__file__).parent / "asyncapi"
SPECS = FOLDER / "node_modules" / "@asyncapi" / "specs" / "schemas"
KEPT = FOLDER.parents[1] / "data" / "asyncapi" / "3.0.0.json.gz"
ERROR = 0
pytestmark = pytest.mark.skipif(
    not (FOLDER / "node_modules").is_dir(), reason="make acceptance-asyncapi installs the parser"
)


def judged(path):
    """Return what the parser says of a document."""
    done = subprocess.run(
        ["node", FOLDER / "validate.mjs", path], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("base", ["charger", "home/garage/charger"])
def test_the_official_parser_takes_the_document(tmp_path, base):
    """No error, and the parser sees every topic."""
    path = tmp_path / "asyncapi.yaml"
    path.write_text(asyncapi_yaml(Topics(base)))
    said = judged(path)

    assert [one for one in said["found"] if one["severity"] == ERROR] == []
    assert set(said["channels"]) == {message.address for message in messages(Topics(base))}


def test_the_official_parser_finds_a_mistake(tmp_path):
    """A document with a broken reference is refused: the parser does look."""
    document = yaml.safe_load(asyncapi_yaml(Topics()))
    document["operations"]["set_start"]["channel"] = {"$ref": "#/channels/nowhere"}
    path = tmp_path / "asyncapi.yaml"
    path.write_text(yaml.safe_dump(document))

    assert [one for one in judged(path)["found"] if one["severity"] == ERROR]


def test_the_schema_we_keep_is_the_official_one():
    """What judges our document without a network is what the package has, byte for byte."""
    official = SPECS / "3.0.0-without-$id.json"

    assert gzip.decompress(KEPT.read_bytes()) == official.read_bytes()
