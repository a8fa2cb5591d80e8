"""Answers become the settings they stand for, in memory and by way of the file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.state_files.plain_file import as_meant
from bridge.cli.setup.answers import (
    EASEE_PASSWORD,
    MQTT_PASSWORD,
    WIDTH,
    Answers,
    problem_with,
    secret_file,
    split,
)
from bridge.config.keys import BY_PATH, KEYS
from bridge.config.loading import load
from bridge.errors import ConfigError
from bridge.settings import Secret

ACCOUNT = {"easee.username": "someone@example.com"}
PASSWORDS = {EASEE_PASSWORD: Secret("canary-1"), MQTT_PASSWORD: Secret("canary-2")}
# One answer that is taken for each kind of key; texts come from Hypothesis.
EXAMPLES = {
    "easee.chargers": "EH000001,EH000002",
    "mqtt.host": "broker.lan",
    "mqtt.port": "8883",
    "mqtt.version": "5",
    "mqtt.tls.enabled": "true",
    "mqtt.base_topic": "house/cars",
    "easee.api_url": "http://127.0.0.1:8800",
    "homeassistant.enabled": "true",
}
# As typed: what reads a variable takes the end of its line off.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40).filter(
    lambda text: as_meant(text) == text
)


def written(folder: Path, answers: Answers, name: str = "config.yaml") -> Path:
    """Write the configuration and the passwords; return the configuration's path."""
    path = folder / name
    path.write_text(answers.render(path))
    for key, secret in answers.secrets.items():
        secret_file(key, path).write_text(f"{secret.reveal()}\n")
    return path


def test_two_accounts_in_one_folder_keep_their_passwords_apart(tmp_path):
    """Each configuration names password files of its own, as the template unit reads them."""
    account = {**ACCOUNT, "mqtt.username": "me"}
    one, two = (
        Answers(account, PASSWORDS),
        Answers(
            account, {key: Secret(f"{secret.reveal()}-two") for key, secret in PASSWORDS.items()}
        ),
    )
    first, second = written(tmp_path, one), written(tmp_path, two, "home.yaml")

    assert load(first, {}) == one.load().settings
    assert load(second, {}) == two.load().settings
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.yaml", "easee_password", "mqtt_password",
        "home.yaml", "home_easee_password", "home_mqtt_password",
    }  # fmt: skip


@given(username=TEXTS, user=TEXTS, store=TEXTS)
def test_what_was_answered_is_what_the_file_says(tmp_path_factory, username, user, store):
    """Whatever texts are taken as answers, the file loads to the settings they make."""
    texts = {"easee.username": username, "mqtt.username": user, "store.path": f"/data/{store}"}
    answers = Answers({**texts, **EXAMPLES}, PASSWORDS)
    if any(problem_with(path, text) for path, text in texts.items()) or "\0" in store:
        with pytest.raises(ConfigError):
            answers.load()
        return

    folder = tmp_path_factory.mktemp("written")
    assert load(written(folder, answers), {}) == answers.load().settings


@pytest.mark.parametrize("word", ["true", "No", "~", "null", "0x10", "- a", "a: b", "#x", "1:30"])
def test_a_text_that_yaml_would_guess_at_stays_a_text(tmp_path, word):
    """A user name that looks like a switch, a number or a comment is read as it was typed."""
    answers = Answers({"easee.username": word}, {EASEE_PASSWORD: Secret("canary-1")})

    assert load(written(tmp_path, answers), {}).easee.username == word


def test_the_file_explains_each_key_and_holds_no_password():
    """Every key has its sentence from the table, in 80 columns, and secrets are elsewhere."""
    text = Answers({**ACCOUNT, **EXAMPLES}, PASSWORDS).render(Path("config.yaml"))

    assert "canary" not in text
    assert "password_file: easee_password" in text
    assert "password_file: mqtt_password" in text
    for path in EXAMPLES:
        assert BY_PATH[path].doc.split()[0] in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_every_section_is_opened_once_and_in_the_order_of_the_table():
    """Keys of one section stand together, also those of a section within."""
    text = Answers({**ACCOUNT, **EXAMPLES, "mqtt.tls.ca_file": "/ca.pem"}, PASSWORDS).render(
        Path("config.yaml")
    )
    opened = [line for line in text.splitlines() if line.strip().endswith(":") and "#" not in line]

    assert opened == ["easee:", "mqtt:", "  tls:", "homeassistant:"]


def test_an_empty_answer_takes_a_key_out():
    """What was answered before and is taken back is not written."""
    answers = Answers({**ACCOUNT, "mqtt.username": "me"}).with_texts({"mqtt.username": ""})

    assert answers.get("mqtt.username") == ""
    assert (
        answers.with_secret(MQTT_PASSWORD, Secret("x" * 8)).with_secret(MQTT_PASSWORD, None)
        == answers
    )
    assert "username: me" not in answers.render(Path("config.yaml"))


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("mqtt.port", "70000", "must be 1 to 65535"),
        ("mqtt.host", "tcp://pi", "the port has its own key"),
        ("easee.chargers", "EH000001, nonsense", "must be charger serials"),
        ("easee.username", "", "must not be empty"),
    ],
)
def test_a_wrong_answer_is_explained(path, text, words):
    """The sentence is the one that the loader would say."""
    assert words in (problem_with(path, text) or "")


def test_every_key_can_be_an_answer():
    """No key has a kind that an answer's text could not be judged by."""
    for key in KEYS:
        assert problem_with(key.path, "\x07") is not None or key.kind.many


def test_a_list_is_typed_with_commas():
    """Blanks and a comma too many do not matter."""
    assert split(" EH000001, ,EH000002,") == ("EH000001", "EH000002")
