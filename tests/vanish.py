"""A network of our own whose packets can be made to vanish: a namespace, and a firewall in it."""

import functools
import os
import re
import shutil
import subprocess
from typing import Final

_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_TABLE: Final = """
table inet vanish {
  chain seen { type filter hook input priority 0; }
}
"""
_COUNTED: Final = re.compile(r"counter packets (\d+)")


def _program(name: str) -> str:
    return shutil.which(name, path=_PATH) or name


@functools.cache
def namespace() -> tuple[str, ...]:
    """Return what to put before a command so that it runs in a network of its own.

    Nothing where that is not permitted, or where the programs for it are missing.
    """
    if shutil.which("ip", path=_PATH) is None:
        return ()
    for words in (("unshare", "--net"), ("unshare", "--map-root-user", "--net")):
        command = (_program(words[0]), *words[1:])
        try:
            subprocess.run(
                [*command, _program("nft"), "-f", "-"],
                input=_TABLE,
                text=True,
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return ()


class Vanishing:
    """Lets what goes to and from one port vanish, and counts it. For inside a namespace.

    Args:
        port: The TCP port.
    """

    def __init__(self, port: int) -> None:
        self._rules = "".join(
            f"add rule inet vanish seen tcp {end} {port} counter drop\n"
            for end in ("dport", "sport")
        )
        self.lost = 0
        subprocess.run([_program("ip"), "link", "set", "lo", "up"], check=True)
        self._nft(_TABLE)

    def begin(self) -> None:
        """From now on packets vanish."""
        self._nft(self._rules)

    def end(self) -> None:
        """Let them through again, and count those that did not come."""
        said = self._nft("list chain inet vanish seen\n")
        self.lost += sum(int(count) for count in _COUNTED.findall(said))
        self._nft("flush chain inet vanish seen\n")

    @staticmethod
    def _nft(rules: str) -> str:
        return subprocess.run(
            [_program("nft"), "-f", "-"], input=rules, text=True, check=True, capture_output=True
        ).stdout
