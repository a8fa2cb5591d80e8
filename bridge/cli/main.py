"""The commands of ``charger-bridge``: arguments in, exit status out.

Rules:

1. A command imports what it needs when it runs: ``--help`` and ``run`` stay fast.
2. Standard output is for what was asked for, standard error for everything else.
3. Every error is one line that says what to do, and becomes one of four statuses: 0 clean,
   78 configuration, 75 worth a retry, 1 anything else.
"""

import argparse
import asyncio
import contextlib
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import msgspec

import bridge
from bridge.cli.options import add_fields, count, endpoint, given_fields, port, seconds
from bridge.errors import (
    AuthFailed,
    BridgeError,
    CloudError,
    ConfigError,
    ConnectionLost,
    RateLimited,
    StoreError,
    TaskFailed,
)
from bridge.settings import Loaded, LogSettings, Settings

PROGRAM = "charger-bridge"
FAILED = 1
SIMULATOR_PORT = 8800
DEMO_SPEED = 20.0

Arguments = argparse.Namespace


def main(argv: Sequence[str]) -> int:
    """Run one command and return the exit status."""
    _write_every_character()
    try:
        arguments = _parser(argv).parse_args(argv)
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The reader closed our output, e.g. `| head`. Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - a border: nothing leaves as a traceback
        return _failed(error)
    return status


def _write_every_character() -> None:
    """Write UTF-8 to files and pipes; escape on a terminal what its character set does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


# -- errors ------------------------------------------------------------------------------------

_STATUS: Final = (
    (ConfigError, os.EX_CONFIG),
    (StoreError, os.EX_TEMPFAIL),
    (ConnectionLost, os.EX_TEMPFAIL),
    (CloudError, os.EX_TEMPFAIL),
    (TaskFailed, os.EX_TEMPFAIL),
)


def _failed(error: BaseException) -> int:
    """Print an error and return its exit status."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ConfigError):
        for problem in error.problems:
            _complain(problem)
    elif isinstance(error, BridgeError):
        hint = _in_seconds(error) if isinstance(error, RateLimited) else getattr(error, "hint", "")
        _complain(f"{error}; {hint}" if hint else str(error))
    elif isinstance(error, OSError):
        from bridge.adapters.state_files.plain_file import reason  # noqa: PLC0415 - rule 1

        is_named = error.filename is not None and error.strerror
        _complain(f"{error.filename}: {reason(error)}" if is_named else reason(error))
    else:
        _complain(f"internal error: {type(error).__name__}: {error}")
        _trace(error)
    return next((status for kind, status in _STATUS if isinstance(error, kind)), FAILED)


def _in_seconds(error: RateLimited) -> str:
    return f"try again in {math.ceil(error.retry_after_s)} s"


def _trace(error: BaseException) -> None:
    """Log where an unexpected error came from; the pipeline shows it at level debug only."""
    import structlog  # noqa: PLC0415 - rule 1

    if structlog.is_configured():
        structlog.get_logger().debug("process.failed", exc_info=error)


def _complain(text: str) -> None:
    from bridge.logs import escape, redact  # noqa: PLC0415 - rule 1

    print(f"{PROGRAM}: {escape(redact(text))}", file=sys.stderr)  # noqa: T201 - rule 2


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - rule 2


class _Parser(argparse.ArgumentParser):
    """Ends with status 1 on a wrong command line: 2 means nothing to a service manager."""

    def error(self, message: str) -> NoReturn:
        """Print an error in one line and exit."""
        self.exit(FAILED, f"{self.prog}: {message} (see {self.prog} --help)\n")


# -- configuration -----------------------------------------------------------------------------


def _load(arguments: Arguments, *, quiet: bool = True, secrets: bool = True) -> Loaded:
    """Load the configuration; from now on logs hide its secrets.

    Args:
        arguments: The command line.
        quiet: Log what went wrong only, as text: for commands that answer and end.
        secrets: Read them too.

    Raises:
        ConfigError: It cannot be used.
    """
    from bridge import logs  # noqa: PLC0415 - rule 1
    from bridge.config import loading as config  # noqa: PLC0415 - rule 1

    try:
        loaded = config.load_with_warnings(arguments.config, os.environ, secrets=secrets)
    except ConfigError as error:
        no_account = any(each.startswith("easee.username: required") for each in error.problems)
        if arguments.config is None and no_account:
            raise ConfigError((*error.problems, _no_file_named())) from error
        raise
    settings = loaded.settings
    logs.register_secrets(settings)
    logs.configure(_answering(settings.log) if quiet else settings.log)
    logs.install_excepthooks()
    return loaded


def _no_file_named() -> str:
    """Return what to do where no configuration was named: the file of ``setup``, or ``setup``."""
    from bridge.cli.setup.options import default_config  # noqa: PLC0415 - rule 1

    with contextlib.suppress(OSError, RuntimeError):  # a user without a home, or without rights
        if (usual := default_config()).exists():
            return f"no file was named; add --config {usual}"
    return "no file was named; `charger-bridge setup` writes one, --config FILE names it"


def _answering(log: LogSettings) -> LogSettings:
    """Return the log settings of a command that answers and ends: its reader is a person."""
    return replace(
        log,
        level="warning" if log.level == "info" else log.level,
        format="console" if log.format == "auto" else log.format,
    )


def _prepare(arguments: Arguments, *, quiet: bool) -> Loaded:
    """Do everything that precedes the first connection.

    Raises:
        ConfigError: The configuration cannot be used.
    """
    from bridge.cli.check import store_problem, tls_problem  # noqa: PLC0415 - rule 1

    loaded = _load(arguments, quiet=quiet)
    settings = loaded.settings
    store = store_problem(settings.store, Path(settings.state_folder))
    tls = tls_problem(settings.mqtt.tls)
    key = "store.url" if settings.store.url else "store.path"
    problems = ((f"{key}: {store}",) if store else ()) + ((tls,) if tls else ())
    if problems:
        raise ConfigError(problems)
    return loaded


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file; without it the environment and the defaults count",
    )


# -- run and check -----------------------------------------------------------------------------


def _run(arguments: Arguments) -> int:
    from bridge import process_tuning  # noqa: PLC0415 - rule 1

    process_tuning.load_libraries()
    import structlog  # noqa: PLC0415 - rule 1

    loaded = _prepare(arguments, quiet=False)
    settings = loaded.settings
    for warning in loaded.warnings:
        structlog.get_logger().warning("config.unwise", detail=warning)
    if loaded.overridden:
        structlog.get_logger().info("config.environment_wins", keys=loaded.overridden)
    from bridge import app  # noqa: PLC0415 - rule 1; a wrong configuration need not wait for it
    from bridge.config import loading as config  # noqa: PLC0415 - rule 1

    def reread() -> Settings:
        """Read the configuration again.

        Raises:
            ConfigError: It cannot be used now.
        """
        from bridge.logs import register_secrets  # noqa: PLC0415 - rule 1

        again = config.load(arguments.config, os.environ)
        register_secrets(again)
        return again

    process_tuning.tune_gc()
    return asyncio.run(app.run(settings, reread))


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument(
        "--connect", action="store_true", help="also log in once and connect to the broker once"
    )


def _check(arguments: Arguments) -> int:
    loaded = _prepare(arguments, quiet=True)
    settings = loaded.settings
    from bridge.cli.check import in_use, tag_problems  # noqa: PLC0415 - rule 1

    for warning in (*loaded.warnings, *tag_problems(settings)):
        _complain(f"warning: {warning}")
    for name, text in in_use(settings):
        _say(f"{name}: {text}")
    for key in loaded.overridden:
        _say(f"{key}: the environment has another value than the file, and wins")
    if arguments.connect:
        status = asyncio.run(_connect(settings))
        if status:
            return status
    _say("ok")
    return 0


async def _connect(settings: Settings) -> int:
    """Connect to cloud and broker, each once and both in any case; return the worst status."""
    from bridge.cli.check import attempts  # noqa: PLC0415 - rule 1

    worst = 0
    async for name, outcome in attempts(settings):
        if isinstance(outcome, str):
            _say(f"{name}: {outcome}")
        else:
            # A wrong password is not worth a retry; everything else is.
            wrong = isinstance(outcome, AuthFailed) and outcome.credentials_wrong
            worst = max(worst, os.EX_CONFIG if wrong else 0, _failed(outcome))
    return worst


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the bundle (default charger-bridge-doctor.zip, here or where temporary files are)",
    )


def _doctor(arguments: Arguments) -> int:
    from bridge.cli import doctor  # noqa: PLC0415 - rule 1

    try:
        loaded, problems = _load_for_doctor(arguments)
    except ConfigError as error:
        doctor.run_unconfigured(error.problems, arguments.output)
        return os.EX_CONFIG
    return doctor.run(loaded.settings, loaded.warnings, problems, arguments.output)


def _load_for_doctor(arguments: Arguments) -> tuple[Loaded, tuple[str, ...]]:
    """Load the configuration, without its secrets where they are what is wrong.

    Returns:
        The configuration, and what is wrong with its secrets.

    Raises:
        ConfigError: It cannot be used for another reason.
    """
    try:
        return _load(arguments), ()
    except ConfigError as error:
        loaded = _load(arguments, secrets=False)
        return loaded, error.problems


# -- records -----------------------------------------------------------------------------------


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    _config_option(parser)
    parser.add_argument("topic", metavar="TOPIC", help="e.g. charger/EH123456/state/op_mode")


def _explain(arguments: Arguments) -> int:
    settings = _load(arguments, secrets=False).settings
    from bridge.cli.explain import run  # noqa: PLC0415 - rule 1

    return run(settings, arguments.topic)


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    from bridge.cli.replay import add_arguments  # noqa: PLC0415 - rule 1

    add_arguments(parser)


def _replay(arguments: Arguments) -> int:
    from bridge.cli.replay import run  # noqa: PLC0415 - rule 1

    return run(arguments)


# -- setup -------------------------------------------------------------------------------------


def _setup_arguments(parser: argparse.ArgumentParser) -> None:
    from bridge.cli.setup.options import add_arguments  # noqa: PLC0415 - rule 1

    add_arguments(parser)


def _setup(arguments: Arguments) -> int:
    from bridge.cli.setup.run import run  # noqa: PLC0415 - rule 1

    return run(arguments)


# -- simulate and demo -------------------------------------------------------------------------


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--chargers", type=count, default=3, metavar="N", help="simulated chargers (default 3)")
    add("--mqtt", type=endpoint, metavar="HOST:PORT", help="a broker of your own")
    add("--duration", type=seconds, metavar="S", help="end by itself after S seconds")
    add("--seed", type=int, default=1, help=argparse.SUPPRESS)
    add("--speed", type=seconds, default=DEMO_SPEED, help=argparse.SUPPRESS)


def _demo(arguments: Arguments) -> int:
    from bridge.demo.run import DemoOptions, run  # noqa: PLC0415 - rule 1

    options = DemoOptions(
        chargers=arguments.chargers,
        broker=arguments.mqtt,
        duration_s=arguments.duration,
        seed=arguments.seed,
        speed=arguments.speed,
    )
    return asyncio.run(run(options))


def _simulate_arguments(parser: argparse.ArgumentParser) -> None:
    from bridge.simulator.scenario import Scenario  # noqa: PLC0415 - rule 1

    parser.add_argument("--port", type=port, default=SIMULATOR_PORT, help="0 for a free one")
    add_fields(parser, Scenario)


def _simulate(arguments: Arguments) -> int:
    from bridge import logs  # noqa: PLC0415 - rule 1
    from bridge.adapters.clock import SystemClock  # noqa: PLC0415 - rule 1
    from bridge.simulator.scenario import Scenario  # noqa: PLC0415 - rule 1
    from bridge.simulator.server import serve  # noqa: PLC0415 - rule 1

    logs.configure(LogSettings("warning", "console"))
    clock = SystemClock()
    scenario = Scenario(**given_fields(arguments))

    async def until_stopped() -> int:
        # Before the line that says we are ready: the reader of it may stop us at once.
        stop = _stop_signal()
        async with serve(scenario, now=lambda: clock.now().wall, port=arguments.port) as simulator:
            _say(f"REST {simulator.api_url}/api hub {simulator.stream_url}")
            await stop.wait()
        return 0

    return asyncio.run(until_stopped())


def _stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT will set."""
    import signal  # noqa: PLC0415 - rule 1

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


# -- sessions and topics -----------------------------------------------------------------------


def _sessions_arguments(parser: argparse.ArgumentParser) -> None:
    from bridge.cli.sessions import add_arguments  # noqa: PLC0415 - rule 1

    add_arguments(parser, _config_option)


def _sessions(arguments: Arguments) -> int:
    if getattr(arguments, "no_costs", True):
        loaded, arguments.without_secrets = _load(arguments, secrets=False), ""
    else:
        loaded, problems = _load_for_doctor(arguments)
        arguments.without_secrets = "; ".join(problems)
    return int(arguments.sessions_run(loaded.settings, arguments))


def _cluster_arguments(parser: argparse.ArgumentParser) -> None:
    from bridge.cli.cluster import add_arguments  # noqa: PLC0415 - rule 1

    add_arguments(parser, _config_option)


def _cluster(arguments: Arguments) -> int:
    from bridge.cli.cluster import run  # noqa: PLC0415 - rule 1

    return run(_load(arguments).settings, arguments)


def _topics_arguments(parser: argparse.ArgumentParser) -> None:
    from bridge.exports.other_projects import PROJECTS  # noqa: PLC0415 - rule 1

    _config_option(parser)
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--like",
        choices=PROJECTS,
        help="with the names of another program, for migration",
    )
    either.add_argument(
        "--format",
        choices=TOPIC_FORMATS,
        default="text",
        help="text; acl: an access list for mosquitto; openhab: things and items; csv: a tag list;"
        " asyncapi: an AsyncAPI 3 document; schema: JSON Schema of every payload (default text)",
    )


def _topics(arguments: Arguments) -> int:
    settings = _load(arguments, secrets=False).settings
    if arguments.like:
        from bridge.exports.other_names import other_names  # noqa: PLC0415 - rule 1

        _say(other_names(arguments.like, settings))
    else:
        _say(TOPIC_FORMATS[arguments.format](settings))
    return 0


def _topics_text(settings: Settings) -> str:
    from bridge.core.easee.selection import Selection  # noqa: PLC0415 - rule 1
    from bridge.core.topics import Topics  # noqa: PLC0415 - rule 1
    from bridge.exports.topic_reference import topic_reference  # noqa: PLC0415 - rule 1

    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    return topic_reference(topics, settings.commands.allow, Selection.of(settings.publish))


def _topics_acl(settings: Settings) -> str:
    from bridge.exports.mosquitto_acl import mosquitto_acl  # noqa: PLC0415 - rule 1

    return mosquitto_acl(settings)


def _topics_openhab(settings: Settings) -> str:
    from bridge.exports.openhab import things_and_items  # noqa: PLC0415 - rule 1

    return things_and_items(settings)


def _topics_csv(settings: Settings) -> str:
    from bridge.exports.tag_list import tag_list  # noqa: PLC0415 - rule 1

    return tag_list(settings)


def _topics_asyncapi(settings: Settings) -> str:
    from bridge.core.topics import Topics  # noqa: PLC0415 - rule 1
    from bridge.exports.asyncapi import asyncapi_yaml  # noqa: PLC0415 - rule 1

    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    return asyncapi_yaml(topics, settings.commands.max_current_a)


def _topics_schema(settings: Settings) -> str:
    from bridge.core.topics import Topics  # noqa: PLC0415 - rule 1
    from bridge.exports.message_schemas import as_text, schema_bundle  # noqa: PLC0415 - rule 1

    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    return as_text(schema_bundle(topics, settings.commands.max_current_a))


TOPIC_FORMATS: Final[dict[str, Callable[[Settings], str]]] = {
    "text": _topics_text,
    "acl": _topics_acl,
    "openhab": _topics_openhab,
    "csv": _topics_csv,
    "asyncapi": _topics_asyncapi,
    "schema": _topics_schema,
}


# -- the table ---------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True):
    """One subcommand.

    Attributes:
        help: One line for ``--help``.
        arguments: Adds its options; called only when the command is used.
        run: Carries it out and returns the exit status.
    """

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], int]


COMMANDS: Final = {
    "setup": Command(
        "ask for account and broker, try them, and write the configuration",
        _setup_arguments,
        _setup,
    ),
    "run": Command("run the gateway in the foreground", _config_option, _run),
    "check": Command("validate the configuration", _check_arguments, _check),
    "doctor": Command(
        "check the installation, and write a support bundle without secrets",
        _doctor_arguments,
        _doctor,
    ),
    "explain": Command(
        "ask the running gateway why a topic is as it is", _explain_arguments, _explain
    ),
    "replay": Command("replay a record of what the gateway handled", _replay_arguments, _replay),
    "demo": Command("broker, simulated cloud and gateway in one", _demo_arguments, _demo),
    "simulate": Command("run only the simulated cloud", _simulate_arguments, _simulate),
    "sessions": Command(
        "list, export, replay or sum up session reports",
        _sessions_arguments,
        _sessions,
    ),
    "cluster": Command(
        "show the workers of a cluster, or have one hand over", _cluster_arguments, _cluster
    ),
    "topics": Command("print every topic of a configuration", _topics_arguments, _topics),
}


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the command that is used gets its options."""
    parser = _Parser(prog=PROGRAM, description="A gateway between MQTT and the Easee Cloud.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {bridge.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    used = next((word for word in argv if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.help, description=command.help)
        added.set_defaults(run=command.run)
        if name == used:
            command.arguments(added)
    return parser
