"""Ajv, from npm and in its strict mode, reads every schema we publish."""

import json
import subprocess
from pathlib import Path

import pytest

from bridge.core.topics import Topics
from bridge.exports.message_schemas import messages, schema_document
from tests.exports.test_message_schemas import LOOSE, POWER
from tests.strict import complaints

FOLDER = Path(__file__).parent / "ajv"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "node_modules").is_dir(), reason="make acceptance-schemas installs Ajv"
)


def judged(folder, schemas, instances=None):
    """Return what Ajv says of each schema, and of the instances of some."""
    files = {name: str(folder / f"{name}.json") for name in schemas}
    for name, schema in schemas.items():
        Path(files[name]).write_text(json.dumps(schema))
    given = {files[name]: each for name, each in (instances or {}).items()}
    done = subprocess.run(
        ["node", FOLDER / "judge.mjs", *files.values()],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    return {name: said[file] for name, file in files.items()}


@pytest.mark.parametrize("base", ["charger", "home/garage/charger"])
def test_a_strict_validator_takes_every_schema(base, tmp_path):
    """Nothing is left to be guessed: no union of types, no keyword without its type."""
    schemas = {each.name: schema_document(each) for each in messages(Topics(base))}
    said = judged(tmp_path, schemas)

    assert len(said) > 60
    assert {name: text for name, text in said.items() if text} == {}


def test_it_judges_messages_as_we_do(tmp_path):
    """A good observation passes there, and one of another type does not."""
    schemas = {each.name: schema_document(each) for each in messages(Topics())}
    good = [POWER, POWER | {"id": 99999, "name": "observation_99999"}]
    bad = POWER | {"value": [7.5]}

    assert judged(tmp_path, schemas, {"observation": good})["observation"] == ""
    assert "value" in judged(tmp_path, schemas, {"observation": [bad]})["observation"]


@pytest.mark.parametrize("name", LOOSE)
def test_our_own_check_knows_its_rules(name, tmp_path):
    """What the check of `make test` refuses, the real one refuses too."""
    assert list(complaints(LOOSE[name]))
    assert judged(tmp_path, {"loose": LOOSE[name]})["loose"]
