"""Entry point of ``charger-bridge`` and of ``python -m bridge``."""

import sys

from bridge.cli.main import main as run_command


def main() -> None:
    """Run the command line and end the process with its status."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
