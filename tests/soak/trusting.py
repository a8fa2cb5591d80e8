"""The program with another authority: ``python -m tests.soak.trusting run --config FILE``.

What it trusts is the file that ``SSL_CERT_FILE`` names; nothing else is changed.
"""

import os
import sys

import certifi

from bridge.cli.main import main

if __name__ == "__main__":
    certifi.where = lambda: os.environ["SSL_CERT_FILE"]
    sys.exit(main(sys.argv[1:]))
