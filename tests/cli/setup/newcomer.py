"""What a newcomer has and does: an account, answers, and a look at what was written."""

from dataclasses import dataclass, field
from pathlib import Path

from bridge.cli.main import main

ACCOUNT, PASSWORD = "user@example.com", "canary-sesame 1"
SERIALS = ("EH000001", "EH000002", "EH000003")


@dataclass(frozen=True)
class Cloud:
    """Where a simulated cloud listens."""

    api_url: str
    stream_url: str

    @property
    def options(self) -> list[str]:
        """The options that point the set-up at it."""
        return ["--api-url", self.api_url, "--stream-url", self.stream_url]


def places(folder: Path) -> list[str]:
    """Return the options that keep everything in a folder."""
    return ["--config", f"{folder}/etc/config.yaml", "--store", f"{folder}/data/bridge.db"]


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return everything below a folder: mode and content by relative path."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


@dataclass
class Typist:
    """Answers questions in the order of its script, and remembers what it was asked.

    Attributes:
        script: Answers; an exception instead of a text is raised.
        asked: The prompts so far.
    """

    script: list[str | BaseException] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def read(self, prompt: str = "") -> str:
        """Answer one question."""
        self.asked.append(prompt)
        if len(self.asked) > len(self.script):
            raise AssertionError(f"the script has no answer to {prompt!r}")
        answer = self.script[len(self.asked) - 1]
        if isinstance(answer, BaseException):
            raise answer
        return answer


def setup(*words: str) -> int:
    """Run the command in this process."""
    return main(["setup", *words])
