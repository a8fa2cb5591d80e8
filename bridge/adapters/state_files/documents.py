"""Small documents as private files in one folder."""

from pathlib import Path

from bridge.adapters.state_files.private_file import read_own, replace


class FileDocuments:
    """Implements :class:`bridge.ports.KeptDocuments` with one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, *, largest: int) -> bytes | None:
        """Return a document; None when there is no file.

        Raises:
            OSError: It cannot be read, or is not ours alone.
        """
        try:
            return read_own(self._folder / name, largest=largest)
        except FileNotFoundError:
            return None

    def replace(self, name: str, content: bytes) -> None:
        """Replace a document.

        Raises:
            OSError: It is as it was.
        """
        replace(self._folder / name, content)
