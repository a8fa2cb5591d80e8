"""``charger-bridge setup``: options, dialogue, and the files written at the end.

Rules:

1. Nothing is written before everything is answered and tried. Broken off at any point, by Ctrl-C,
   by end of input or by a signal, nothing exists that did not exist before.
2. Nothing is replaced without a yes, or ``--force``.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bridge import logs
from bridge.adapters.state_files.plain_file import NotText, read_plain, text_of
from bridge.cli.check import folder_problem, store_problem
from bridge.cli.setup import unit
from bridge.cli.setup.answers import (
    CREDENTIALS,
    MQTT_PASSWORD,
    Answers,
    absolute,
    problem_with,
    secret_file,
    split,
)
from bridge.cli.setup.dialogue import CHARGERS, Given, Outcome, hold
from bridge.cli.setup.files import (
    SECRET_MODE,
    STATE_MODE,
    Access,
    NewFile,
    NewFolder,
    access_for,
    write_all,
)
from bridge.cli.setup.options import (
    PROGRAM,
    SECRET_OPTIONS,
    default_config,
    given_secret,
    given_texts,
    own_store,
)
from bridge.cli.setup.purposes import PLACEHOLDER, PURPOSES, Context
from bridge.cli.setup.terminal import BrokenOff, Terminal
from bridge.cli.setup.unit import Systemd
from bridge.config.file import MAX_FILE_BYTES
from bridge.config.rules import EXAMPLE_ACCOUNT
from bridge.errors import AuthFailed, ConfigError
from bridge.settings import LogSettings, Secret, StoreSettings

FAILED = 1
UNIT_MODE = 0o644
# In the first line of deploy/deb/config.yaml.
TEMPLATE_MARK = "`charger-bridge setup` writes it"


@dataclass(slots=True)
class Setup:
    """One run of the command.

    Attributes:
        arguments: The command line.
        terminal: Where it talks.
        systemd: The service manager's places.
        is_written: The files exist.
    """

    arguments: argparse.Namespace
    terminal: Terminal
    systemd: Systemd
    is_written: bool = False

    @property
    def config(self) -> Path:
        """Return the configuration file."""
        chosen = self.arguments.config or default_config()
        return Path(absolute(str(chosen)))

    def run(self) -> int:
        """Run the dialogue and write the files; return the exit status.

        Raises:
            BridgeError, OSError: It could not be done.
        """
        given, access = self._given(), self._access()
        self._require_places(given.answers)
        replaced = self._existing()
        self._welcome(replaced)
        outcome = hold(given, self.terminal)
        has_unit = self._wants_unit(outcome.answers)
        if has_unit and access.owner is None and MQTT_PASSWORD in outcome.answers.secrets:
            self._require_handed_over()
        folders, files = self._planned(outcome.answers, access, replaced, has_unit=has_unit)
        self._confirm(files)
        write_all(folders, files)
        self.is_written = True
        self.terminal.heading("Written")
        for file in files:
            self.terminal.line(str(file.path))
        return self._finish(outcome, has_unit=has_unit)

    # -- before the questions --------------------------------------------------------------

    def _given(self) -> Given:
        """Return what options and environment answer.

        Raises:
            ConfigError: One of it cannot be used.
        """
        texts = unit.texts_for(self.config) | given_texts(self.arguments)
        if os.geteuid() != 0:
            texts.setdefault("store.path", str(own_store()))
        problems = [
            f"{path}: {problem}"
            for path, text in texts.items()
            if (problem := problem_with(path, text)) is not None
        ]
        if problems:
            raise ConfigError(tuple(problems))
        answers = Answers().with_texts(texts)
        for path in SECRET_OPTIONS:
            if (secret := given_secret(path, self.arguments)) is not None:
                logs.register_secret(secret)
                answers = answers.with_secret(path, Secret(secret))
        return Given(answers, self.arguments.purpose, tries=not self.arguments.no_connect)

    def _access(self) -> Access:
        try:
            return access_for(self.arguments.user)
        except KeyError:
            raise ConfigError((f"--user: there is no user {self.arguments.user!r}",)) from None
        except PermissionError as exc:
            raise ConfigError((f"--user: {exc.strerror}",)) from exc

    def _require_places(self, answers: Answers) -> None:
        """Raise ``ConfigError`` for what could not be written at the end."""
        problems = []
        if problem := _place_problem(self.config):
            problems.append(f"--config: {problem}")
        store = Path(answers.get("store.path") or StoreSettings().path)
        if problem := store_problem(StoreSettings(str(store)), store.parent):
            problems.append(f"store.path: {problem}; name another place with --store")
        if self.arguments.service and (why := self._unit_obstacle(store)):
            problems.append(f"--service: {why}")
        if problems:
            raise ConfigError(tuple(problems))

    def _existing(self) -> tuple[Path, ...]:
        """Return what stands in the way and may go.

        Raises:
            BrokenOff: It may not.
            ConfigError: There is no terminal to ask.
        """
        found = tuple(path for path in self._places() if os.path.lexists(path))
        if not found or self.arguments.force:
            return found
        if not self.terminal.can_ask:
            raise ConfigError(tuple(f"{path}: exists; --force replaces it" for path in found))
        is_template = found == (self.config,) and _is_template(self.config)
        for path in found:
            note = ": the package's, not set up yet" if is_template else ""
            self.terminal.warn(f"{path} exists{note}")
        if not self.terminal.confirm("Replace what exists, at the end", default=is_template):
            raise BrokenOff
        return found

    def _places(self) -> tuple[Path, ...]:
        """Return every file that may be written, without those a password is read from."""
        secrets = [secret_file(path, self.config) for path in CREDENTIALS]
        sources = {
            Path(absolute(str(named)))
            for destination, _ in SECRET_OPTIONS.values()
            if (named := getattr(self.arguments, destination)) is not None
        }
        return (self.config, *(path for path in secrets if path not in sources))

    def _welcome(self, replaced: tuple[Path, ...]) -> None:
        if not self.terminal.can_ask:
            return
        verb = "replaced" if self.config in replaced else "written"
        self.terminal.say("A few questions; each answer is tried at once.")
        self.terminal.say(f"Only at the end this file is {verb}; Ctrl-C leaves all as it is:")
        self.terminal.line(str(self.config))

    # -- behind the questions --------------------------------------------------------------

    def _unit_obstacle(self, store: Path) -> str | None:
        return self.systemd.obstacle(_executable(), self.config, store)

    def _wants_unit(self, answers: Answers) -> bool:
        """Ask whether to install a systemd unit, where possible."""
        wanted: bool | None = self.arguments.service
        if wanted is not None or not self.terminal.can_ask:
            return bool(wanted)
        store = Path(answers.get("store.path") or StoreSettings().path)
        if why := self._unit_obstacle(store):
            if os.geteuid() == 0:
                self.terminal.say(f"No systemd unit is offered: {why}.")
            return False
        self.terminal.heading("Service")
        return self.terminal.confirm("Start it with systemd, now and at boot", default=True)

    def _require_handed_over(self) -> None:
        """Warn of an installed unit whose service could not read the broker's password."""
        name, installed = CREDENTIALS[MQTT_PASSWORD], self.systemd.installed(self.config)
        if installed is not None and not unit.hands_over(installed, name):
            self.terminal.warn(
                f"{installed} does not hand over {name}; take the comment signs off its lines"
            )

    def _planned(
        self,
        answers: Answers,
        access: Access,
        replaced: tuple[Path, ...],
        *,
        has_unit: bool,
    ) -> tuple[list[NewFolder], list[NewFile]]:
        """Return what is to be written, the configuration behind what it names."""
        folders = [NewFolder(self.config.parent, access.folder_mode, access.config_owner)]
        store = Path(answers.get("store.path") or StoreSettings().path)
        if access.owner is not None:
            folders.append(NewFolder(store.parent, STATE_MODE, access.owner))

        def planned(path: Path, text: str, mode: int, owner: tuple[int, int] | None) -> NewFile:
            is_source = path not in self._places() and path != self.systemd.place
            return NewFile(
                path, text.encode("utf-8"), mode, owner, may_replace=path in replaced or is_source
            )

        files = [
            planned(
                secret_file(path, self.config),
                f"{secret.reveal()}\n",
                SECRET_MODE,
                access.owner,
            )
            for path, secret in answers.secrets.items()
        ]
        files.append(
            planned(
                self.config, answers.render(self.config), access.config_mode, access.config_owner
            )
        )
        program = _executable()
        if has_unit and self.systemd.installed(self.config) is None and program is not None:
            has_password = MQTT_PASSWORD in answers.secrets
            text = unit.render(program, self.config, has_broker_password=has_password)
            files.append(planned(self.systemd.place, text, UNIT_MODE, None))
        return folders, files

    def _confirm(self, files: list[NewFile]) -> None:
        """Ask for confirmation before writing.

        Raises:
            BrokenOff: It was a no.
        """
        if not self.terminal.can_ask:
            return
        self.terminal.heading("To be written")
        for file in files:
            self.terminal.line(f"{file.path} ({file.mode:04o})")
        if not self.terminal.confirm("Write", default=True):
            raise BrokenOff

    def _finish(self, outcome: Outcome, *, has_unit: bool) -> int:
        """Start the service or say how, and say what to try first."""
        loaded = outcome.answers.load()
        serials = split(outcome.answers.get(CHARGERS)) or outcome.chargers
        context = Context(
            loaded.settings, self.config, _program(), serials[0] if serials else PLACEHOLDER
        )
        name = unit.name_for(self.config)
        failure = unit.start(name) if has_unit else None
        if has_unit and failure is None:
            self.terminal.good(f"{name} runs; its log: journalctl -u {name}")
        elif failure is not None:
            self.terminal.bad(failure)
        else:
            self.terminal.heading("Start the gateway")
            self.terminal.line(context.command_line("run"))
        purpose = PURPOSES[outcome.purpose]
        self.terminal.heading(f"The first command to try ({purpose.title})")
        for step in purpose.steps(context):
            (self.terminal.line if step.is_command else self.terminal.say)(step.text)
        return FAILED if failure is not None else 0


# -- places and programs -----------------------------------------------------------------------


def _place_problem(path: Path) -> str | None:
    """Return why a file could not be written, without writing anything."""
    if path.is_dir():
        return f"{path} is a folder; name a file in it"
    return folder_problem(path)


def _is_template(path: Path) -> bool:
    """Return whether a configuration is the Debian package's, with the example's account."""
    try:
        text = text_of(read_plain(path, MAX_FILE_BYTES))
    except (OSError, NotText):
        return False
    return TEMPLATE_MARK in text and f"username: {EXAMPLE_ACCOUNT}\n" in text


def _executable() -> Path | None:
    """Return the file that this program was started as, or None for ``python -m``."""
    started = Path(sys.argv[0])
    if started.name != PROGRAM:
        return None
    found = shutil.which(sys.argv[0])
    return Path(found or started).absolute()


def _program() -> str:
    """Return how this program is called from a shell."""
    path = _executable()
    if path is None:
        return f"{sys.executable} -m bridge"
    known = shutil.which(PROGRAM)
    return PROGRAM if known and Path(known).absolute() == path else str(path)


# -- the command -------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status.

    Raises:
        BridgeError, OSError: It could not be done; nothing was written.
    """
    logs.configure(LogSettings("error", "console"))
    logs.install_excepthooks()
    can_ask = sys.stdin.isatty() and not (arguments.non_interactive or arguments.password_stdin)
    setup = Setup(arguments, Terminal(can_ask=can_ask), Systemd())
    try:
        with _ended_by_signals():
            return setup.run()
    except (BrokenOff, KeyboardInterrupt):
        if setup.is_written:
            raise KeyboardInterrupt from None
        sys.stderr.write(f"\n{PROGRAM}: interrupted; nothing was written\n")
        return FAILED
    except AuthFailed as error:
        if error.credentials_wrong:  # a configuration that is wrong, not a cloud that is away
            raise ConfigError((str(error),)) from error
        raise


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the dialogue on SIGTERM and SIGHUP, so that the terminal's echo is restored."""

    def end(*_: Any) -> NoReturn:
        raise BrokenOff

    previous: dict[int, Any] = {
        number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
