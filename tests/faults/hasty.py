"""The installed program with shorter patience: ``python -m tests.faults.hasty run --config FILE``.

What takes a quarter of a minute in life takes half a second here; nothing else is changed.
"""

import sys

from bridge import gateway
from bridge.cli.main import main
from bridge.core.commands import addressing

if __name__ == "__main__":
    gateway.BEAT_EVERY_S = 0.2
    gateway.SUSPENDED_S = 1.0
    addressing.LATE_MESSAGES_S = 3.0
    sys.exit(main(sys.argv[1:]))
