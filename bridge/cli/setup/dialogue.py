"""Dialogue of setup: each group is asked, verified at once, and asked again if it fails.

Rules:

1. What was given as an option is not asked. It is asked after all when its trial failed.
2. Without a terminal defaults count, and a trial that fails is the end.
3. Nothing is written here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from bridge.cli.check import list_chargers, probe_broker, tls_problem
from bridge.cli.setup.answers import (
    EASEE_PASSWORD,
    MQTT_PASSWORD,
    Answers,
    absolute,
    problem_with,
    split,
)
from bridge.cli.setup.purposes import PURPOSES
from bridge.cli.setup.terminal import Terminal
from bridge.config.kinds import is_private
from bridge.errors import AuthFailed, BridgeError, ConfigError
from bridge.logs import register_secret
from bridge.settings import Secret, Settings, TlsSettings

_T = TypeVar("_T")

PLAIN_PORT, TLS_PORT = "1883", "8883"
# The vendor blocks addresses for a day; after how many wrong passwords is not documented.
MAX_WRONG_PASSWORDS = 5
DEFAULT_PURPOSE = "shell"
AGAIN, SKIP = "again", "skip"
CHARGERS = "easee.chargers"
TLS, AUTHORITY = "mqtt.tls.enabled", "mqtt.tls.ca_file"
PLAINTEXT = "mqtt.tls.allow_plaintext"
PLAINTEXT_QUESTION = "The host is not private. Send password and commands unencrypted"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line and the environment answered beforehand.

    Attributes:
        answers: Keys and passwords.
        purpose: A word of ``PURPOSES``, or None.
        tries: Each answer is tried at once.
    """

    answers: Answers
    purpose: str | None = None
    tries: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the dialogue led to.

    Attributes:
        answers: Everything that was answered, complete.
        purpose: A word of ``PURPOSES``.
        chargers: Serials that the account lists; empty where that was not tried.
        warnings: What looks unwise about the configuration.
    """

    answers: Answers
    purpose: str
    chargers: tuple[str, ...]
    warnings: tuple[str, ...]


def hold(given: Given, terminal: Terminal) -> Outcome:
    """Ask for every missing answer and verify it.

    Raises:
        BridgeError: An answer cannot be used, or its trial failed without a terminal.
        BrokenOff: The dialogue was ended.
    """
    return _Dialogue(given, terminal).hold()


class _Dialogue:
    """The answers while they are collected."""

    def __init__(self, given: Given, terminal: Terminal) -> None:
        self._given = given
        self._answers = given.answers
        self._terminal = terminal
        self._wrong_passwords = 0

    def hold(self) -> Outcome:
        self._require_account()
        chargers = self._account()
        self._which(chargers)
        self._broker()
        purpose = self._purpose()
        self._answers = self._answers.with_texts(PURPOSES[purpose].texts)
        if PURPOSES[purpose].names_chargers and chargers and not self._answers.get(CHARGERS):
            self._answers = self._answers.with_texts({CHARGERS: ",".join(chargers)})
        loaded = self._answers.load()
        for warning in loaded.warnings:
            self._terminal.warn(warning)
        return Outcome(self._answers, purpose, chargers, loaded.warnings)

    def _require_account(self) -> None:
        """Raise ``ConfigError`` for what has no default and cannot be asked."""
        if self._terminal.can_ask:
            return
        missing = []
        if not self._answers.get("easee.username"):
            missing.append("easee.username: required; give --username")
        if EASEE_PASSWORD not in self._answers.secrets:
            missing.append("easee.password: required; give --password-file or --password-stdin")
        if missing:
            raise ConfigError(tuple(missing))

    # -- the account -----------------------------------------------------------------------

    def _account(self) -> tuple[str, ...]:
        """Ask for the account until the login works; return the chargers it lists."""
        self._heading("Easee account")
        if self._terminal.can_ask and not self._answers.get("easee.username"):
            self._terminal.say("Best is an account of its own that reaches only these chargers.")
        asks_again = False
        while True:
            self._text("easee.username", "E-mail or phone number (+47...)", again=asks_again)
            self._password(EASEE_PASSWORD, "Password", again=asks_again)
            if not self._given.tries:
                return ()
            self._terminal.say(f"Logging in at {self._settings().easee.api_url} ...")
            found = self._tried(lambda: list_chargers(self._settings()))
            if not isinstance(found, BridgeError):
                self._tell_chargers(found)
                return found
            asks_again = isinstance(found, AuthFailed)
            if not asks_again and self._skips("try again"):
                return ()

    def _tell_chargers(self, found: tuple[str, ...]) -> None:
        if found:
            self._terminal.good(f"logged in; {len(found)} charger(s): {', '.join(found)}")
        else:
            self._terminal.good("logged in")
            self._terminal.warn(
                "the account lists no charger; give it access to one in the Easee app or portal,"
                " and the gateway finds it by itself"
            )

    def _which(self, found: tuple[str, ...]) -> None:
        """Ask which chargers to serve."""
        if self._terminal.can_ask and len(found) > 1 and not self._answers.get(CHARGERS):
            text = self._terminal.ask(
                "Chargers to serve, with commas (Enter: all, also future ones)",
                problem=lambda text: problem_with(CHARGERS, text) or _unlisted(text, found),
            )
            self._answers = self._answers.with_texts({CHARGERS: ",".join(split(text))})
        elif found and (unlisted := _unlisted(self._answers.get(CHARGERS), found)):
            self._terminal.warn(f"{CHARGERS}: {unlisted}")

    # -- the broker ------------------------------------------------------------------------

    def _broker(self) -> None:
        """Ask for the broker until the connection works."""
        self._heading("MQTT broker")
        asks_again = False
        while True:
            self._ask_broker(again=asks_again)
            asks_again = True
            if not self._broker_is_sound():
                continue
            if not self._given.tries:
                return
            mqtt = self._settings().mqtt
            self._terminal.say(f"Connecting to {mqtt.host}:{mqtt.port} ...")
            found = self._tried(lambda: probe_broker(self._settings()))
            if not isinstance(found, BridgeError):
                self._terminal.good(found)
                return
            if self._skips("answer again"):
                return

    def _broker_is_sound(self) -> bool:
        """Check the answers about the broker together; report what is not valid."""
        try:
            self._settings()
        except ConfigError as error:
            if not self._terminal.can_ask:
                raise
            for problem in error.problems:
                self._terminal.bad(problem)
            return False
        return True

    def _ask_broker(self, *, again: bool) -> None:
        self._text("mqtt.host", "Host", default="localhost", again=again)
        self._tls(again=again)
        port = TLS_PORT if self._has_tls else PLAIN_PORT
        self._text("mqtt.port", "Port", default=port, again=again)
        if self._has_tls:
            self._authority(again=again)
        self._optional("mqtt.username", "User", again=again)
        if self._answers.get("mqtt.username"):
            self._password(MQTT_PASSWORD, "Password", again=again)
        else:
            self._answers = self._answers.with_secret(MQTT_PASSWORD, None)

    @property
    def _has_tls(self) -> bool:
        return self._answers.get(TLS) == "true"

    def _tls(self, *, again: bool) -> None:
        answered = self._answers.get(TLS)
        is_near = is_private(self._answers.get("mqtt.host"))
        if not self._terminal.can_ask or (answered and not again):
            if not answered and self._answers.get("mqtt.port") == TLS_PORT:
                self._answers = self._answers.with_texts({TLS: "true"})
            return
        wise = self._answers.get("mqtt.port") == TLS_PORT or not is_near
        wants = self._terminal.confirm("TLS", default=answered == "true" if answered else wise)
        texts = {TLS: "true" if wants else "false", PLAINTEXT: ""}
        if not wants:
            texts[AUTHORITY] = ""
        if answered and wants != (answered == "true"):
            texts["mqtt.port"] = ""  # its default is another one now
        if not wants and not is_near and self._terminal.confirm(PLAINTEXT_QUESTION, default=False):
            texts[PLAINTEXT] = "true"
        self._answers = self._answers.with_texts(texts)

    # -- what for --------------------------------------------------------------------------

    def _purpose(self) -> str:
        if self._given.purpose is not None:
            return self._given.purpose
        if not self._terminal.can_ask:
            return DEFAULT_PURPOSE
        self._terminal.heading("What is it for?")
        options = {word: purpose.title for word, purpose in PURPOSES.items()}
        return self._terminal.choose("Choice", options, DEFAULT_PURPOSE)

    def _heading(self, text: str) -> None:
        """Write the title of questions; where none are asked it would stand over nothing."""
        if self._terminal.can_ask:
            self._terminal.heading(text)

    # -- one answer ------------------------------------------------------------------------

    def _text(self, path: str, question: str, *, default: str = "", again: bool) -> None:
        """Ask for a required key."""
        held = self._answers.get(path)
        if not self._terminal.can_ask:
            text = held or default
        elif held and not again:
            return
        else:
            text = self._terminal.ask(
                question, held or default, lambda text: problem_with(path, text)
            )
        self._answers = self._answers.with_texts({path: text})

    def _optional(
        self,
        path: str,
        question: str,
        *,
        again: bool,
        problem: Callable[[str], str | None] | None = None,
    ) -> None:
        """Ask for an optional key; a dash removes an earlier answer."""
        held = self._answers.get(path)
        if not self._terminal.can_ask or (held and not again):
            return
        hint = "-: none" if held else "Enter: none"

        def wrong(text: str) -> str | None:
            if text in ("", "-"):
                return None
            return problem_with(path, text) or (problem(text) if problem is not None else None)

        text = self._terminal.ask(f"{question} ({hint})", held, wrong)
        self._answers = self._answers.with_texts({path: "" if text == "-" else text})

    def _authority(self, *, again: bool) -> None:
        question = "File of the authority, PEM; else the system's"
        self._optional(AUTHORITY, question, again=again, problem=_no_authority)
        if text := self._answers.get(AUTHORITY):
            self._answers = self._answers.with_texts({AUTHORITY: absolute(text)})

    def _password(self, path: str, question: str, *, again: bool) -> None:
        if not self._terminal.can_ask or (path in self._answers.secrets and not again):
            return
        secret = self._terminal.ask_secret(question, lambda text: problem_with(path, text))
        register_secret(secret)
        self._answers = self._answers.with_secret(path, Secret(secret))

    # -- trials ----------------------------------------------------------------------------

    def _settings(self) -> Settings:
        return self._answers.load().settings

    def _tried(self, attempt: Callable[[], Coroutine[Any, Any, _T]]) -> _T | BridgeError:
        """Return what a trial found, or why it failed, after telling it.

        Raises:
            BridgeError: It failed, and there is no terminal to answer again.
        """
        try:
            return asyncio.run(attempt())
        except BridgeError as error:
            if isinstance(error, AuthFailed):
                error.retry_after_s = 0.0  # nothing is tried again by itself here
                self._wrong_passwords += 1
            if not self._terminal.can_ask or self._wrong_passwords >= MAX_WRONG_PASSWORDS:
                raise
            self._terminal.bad(str(error))
            return error

    def _skips(self, other: str) -> bool:
        """Ask whether to continue without a successful test."""
        options = {AGAIN: other, SKIP: "go on without this trial"}
        return self._terminal.choose("Choice", options, AGAIN) == SKIP


def _no_authority(text: str) -> str | None:
    """Return why a file holds no certificate to verify a broker with, or None."""
    wrong = tls_problem(TlsSettings(enabled=True, ca_file=absolute(text)))
    return None if wrong is None else f"cannot be used: {wrong.removeprefix(f'{AUTHORITY}: ')}"


def _unlisted(text: str, found: tuple[str, ...]) -> str | None:
    """Return a sentence about serials that the account does not list, or None."""
    missing = [serial for serial in split(text) if serial not in found]
    return f"names {', '.join(missing)}, which the account does not list" if missing else None
