"""Entry point of ``charger-bridge`` and of ``python -m bridge``."""

import gc
import sys

from bridge.process_tuning import load_libraries


def main() -> None:
    """Run the command line and end the process with its status."""
    # The command line takes these, before a command can say what it needs.
    load_libraries("msgspec", "shutil")
    from bridge.cli.main import main as run_command  # noqa: PLC0415 - after them

    gc.enable()
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
