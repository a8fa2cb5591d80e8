"""The questions, tried against a real broker and a simulated cloud."""

import io

import pytest

from bridge.cli.setup import dialogue
from bridge.cli.setup.answers import EASEE_PASSWORD, MQTT_PASSWORD, Answers
from bridge.cli.setup.dialogue import AUTHORITY, Given, hold
from bridge.cli.setup.terminal import Terminal
from bridge.errors import AuthFailed, ConfigError, ConnectionLost
from bridge.settings import Secret
from tests.cli.setup.newcomer import ACCOUNT, PASSWORD, SERIALS
from tests.conftest import unused_port
from tests.mosquitto import Mosquitto

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def output() -> io.StringIO:
    """What was shown."""
    return io.StringIO()


@pytest.fixture
def given(cloud) -> Given:
    """A start with nothing answered but where the cloud is."""
    return Given(Answers({"easee.api_url": cloud.api_url, "easee.stream_url": cloud.stream_url}))


def with_account(given: Given, broker: int | None = None) -> Given:
    """The account answered, and the broker where one is told."""
    texts = {"easee.username": ACCOUNT}
    if broker is not None:
        texts |= {"mqtt.host": "127.0.0.1", "mqtt.port": str(broker), "mqtt.tls.enabled": "false"}
    answers = given.answers.with_texts(texts).with_secret(EASEE_PASSWORD, Secret(PASSWORD))
    return Given(answers, given.purpose, given.tries)


def test_each_group_is_asked_and_tried(given, broker, typist, output):
    """Account, chargers, broker, purpose: the answers end as settings."""
    typist.script = [ACCOUNT, PASSWORD, "", "127.0.0.1", "", str(broker), "", "shell"]
    outcome = hold(given, Terminal(output))
    settings = outcome.answers.load().settings

    assert settings.easee.username == ACCOUNT
    assert settings.easee.password == Secret(PASSWORD)
    assert (settings.mqtt.host, settings.mqtt.port) == ("127.0.0.1", broker)
    assert (outcome.purpose, outcome.chargers) == ("shell", SERIALS)
    assert f"3 charger(s): {', '.join(SERIALS)}" in output.getvalue()
    assert f"MQTT 3.1.1 at 127.0.0.1:{broker}" in output.getvalue()


def test_a_wrong_password_is_told_and_asked_for_again(given, broker, typist, output):
    """The account stays as the default; the message is in words and holds no password."""
    typist.script = [ACCOUNT, "canary-wrong", "", PASSWORD, "", "", "", str(broker), "", ""]
    outcome = hold(given, Terminal(output))

    assert outcome.answers.get("easee.username") == ACCOUNT
    assert outcome.answers.secrets[EASEE_PASSWORD] == Secret(PASSWORD)
    assert "failed: the cloud refuses user or password" in output.getvalue()
    assert "canary" not in output.getvalue()


def test_a_cloud_is_not_tried_with_wrong_passwords_for_ever(given, typist, output):
    """After five it ends, before the vendor blocks the address."""
    typist.script = [ACCOUNT, *["wrong", ""] * dialogue.MAX_WRONG_PASSWORDS]

    with pytest.raises(AuthFailed):
        hold(given, Terminal(output))
    assert len(typist.asked) == 2 * dialogue.MAX_WRONG_PASSWORDS


def test_a_cloud_that_is_away_can_be_passed_over(given, broker, typist, output):
    """It is tried again without new questions, or left for later."""
    away = f"http://127.0.0.1:{unused_port()}"
    answers = given.answers.with_texts({"easee.api_url": away})
    typist.script = [ACCOUNT, PASSWORD, "1", "2", "127.0.0.1", "", str(broker), "", "node-red"]
    outcome = hold(Given(answers), Terminal(output))

    assert outcome.chargers == ()
    assert output.getvalue().count("it refuses the connection") == 2
    assert "[Errno" not in output.getvalue()


def test_some_of_the_chargers_can_be_chosen(given, broker, typist, output):
    """A serial that the account does not list is asked for again."""
    typist.script = ["EH999999", "EH000003, EH000001", "", "6"]
    outcome = hold(with_account(given, broker), Terminal(output))

    assert outcome.answers.load().settings.easee.chargers == ("EH000003", "EH000001")
    assert "it names EH999999, which the account does not list" in output.getvalue()


@pytest.mark.broker
def test_a_broker_that_wants_a_password(given, tmp_path, typist, output):
    """What is wrong is named, and everything about the broker is asked again with its defaults."""
    port = unused_port()
    (tmp_path / "passwords").write_text("")
    (tmp_path / "acl").write_text("")
    guarded = Mosquitto(tmp_path, port, anonymous=False)
    guarded.start()
    try:
        typist.script = [
            "", "127.0.0.1", "", str(port), "me", "canary-no",  # first
            "1", "", "", "", "-",  # again, without a user
            "2", "shell",
        ]  # fmt: skip
        outcome = hold(with_account(given), Terminal(output))
    finally:
        guarded.stop()

    assert "failed: the broker at 127.0.0.1" in output.getvalue()
    assert f"Port [{port}]: " in typist.asked
    assert "User (-: none) [me]: " in typist.asked
    assert MQTT_PASSWORD not in outcome.answers.secrets
    assert outcome.answers.get("mqtt.username") == ""


def test_a_foreign_network_wants_tls_or_a_yes(given, typist, output):
    """Without either the broker is asked for again; nothing was sent there."""
    given = Given(given.answers, purpose="shell", tries=False)
    typist.script = ["broker.example.com", "n", "n", "", "", "", "n", "y", "", ""]
    outcome = hold(with_account(given), Terminal(output))
    tls = outcome.answers.load().settings.mqtt.tls

    assert "neither loopback nor private" in output.getvalue()
    assert typist.asked[1] == "TLS [Y/n]: "
    assert (tls.enabled, tls.allow_plaintext) == (False, True)


def test_another_answer_about_tls_moves_the_port(given, typist, output, monkeypatch):
    """8883 is offered with TLS, 1883 without, also when it is answered again."""
    found = [ConnectionLost("nothing listens"), "MQTT 5"]

    async def probe(_settings: object) -> str:
        if isinstance(one := found.pop(0), str):
            return one
        raise one

    monkeypatch.setattr(dialogue, "probe_broker", probe)
    typist.script = ["", "pi", "y", "", "", "", "1", "", "n", "", "", "shell"]
    outcome = hold(with_account(given), Terminal(output))

    assert "Port [8883]: " in typist.asked
    assert typist.asked[-3] == "Port [1883]: "
    assert outcome.answers.load().settings.mqtt.tls.enabled is False


def test_a_file_that_holds_no_authority_is_told_at_once(given, tmp_path, typist, output):
    """A missing one, a folder, another file: asked for again before the next question."""
    (tmp_path / "notes.txt").write_text("no certificate")
    files = ["/nowhere.pem", str(tmp_path), str(tmp_path / "notes.txt")]
    given = with_account(Given(given.answers, purpose="shell", tries=False))
    typist.script = ["pi", "y", "", *files, "", ""]
    outcome = hold(given, Terminal(output))

    told = " ".join(output.getvalue().split())
    assert "it cannot be used: no such file: /nowhere.pem" in told
    assert f"{tmp_path}: it is a folder, not a file" in told
    assert "holds no usable certificate" in told
    assert AUTHORITY not in outcome.answers.texts
    assert [text for text in typist.asked if "authority" in text] == typist.asked[3:7]


@pytest.mark.parametrize("purpose", ["openhab", "home-assistant"])
def test_a_purpose_sets_what_it_needs(given, broker, output, purpose):
    """OpenHAB's files need the serials, Home Assistant its discovery."""
    given = with_account(Given(given.answers, purpose), broker)
    outcome = hold(given, Terminal(output, can_ask=False))
    settings = outcome.answers.load().settings

    assert settings.easee.chargers == (SERIALS if purpose == "openhab" else ())
    assert settings.homeassistant.enabled is (purpose == "home-assistant")


def test_where_nobody_answers_defaults_count_and_a_failure_is_the_end(given, typist, output):
    """No question is asked; what is missing or does not work is an error."""
    silent = Terminal(output, can_ask=False)
    with pytest.raises(ConfigError) as missing:
        hold(given, silent)
    assert len(missing.value.problems) == 2

    with pytest.raises(ConnectionLost):
        hold(with_account(given, unused_port()), silent)
    wrong = with_account(given).answers.with_secret(EASEE_PASSWORD, Secret("wrong"))
    with pytest.raises(AuthFailed):
        hold(Given(wrong), silent)
    outcome = hold(Given(with_account(given).answers, tries=False), silent)
    assert (outcome.purpose, outcome.answers.get("mqtt.port")) == ("shell", "1883")
    assert typist.asked == []


def test_port_8883_means_tls_where_nobody_is_asked(given, output):
    """The usual port of TLS needs no second option."""
    answers = with_account(given).answers.with_texts({"mqtt.port": "8883"})
    outcome = hold(Given(answers, tries=False), Terminal(output, can_ask=False))

    assert outcome.answers.load().settings.mqtt.tls.enabled is True


def test_an_unknown_charger_of_an_option_is_warned_of(given, broker, output):
    """It may be added to the account later, so it is no error."""
    given = with_account(given, broker)
    answers = given.answers.with_texts({"easee.chargers": "EH000001,EH777777"})
    hold(Given(answers), Terminal(output, can_ask=False))

    assert "EH777777, which the account does not list" in " ".join(output.getvalue().split())


def test_an_account_without_chargers_says_what_to_do(given, broker, output, monkeypatch):
    """The set-up goes on: the gateway finds them later."""

    async def none(_settings: object) -> tuple[str, ...]:
        return ()

    monkeypatch.setattr(dialogue, "list_chargers", none)
    outcome = hold(with_account(given, broker), Terminal(output, can_ask=False))

    assert outcome.chargers == ()
    assert "give it access to one" in output.getvalue()
