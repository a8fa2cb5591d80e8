"""What commands and queries can be addressed to: chargers, Equalizers and sites."""

from collections.abc import Container
from typing import Final, Literal

Kind = Literal["charger", "equalizer", "site"]
CHARGER: Final[Kind] = "charger"
EQUALIZER: Final[Kind] = "equalizer"
SITE: Final[Kind] = "site"
MAX_ID_DIGITS: Final = 18
# The detail of `unknown_charger`: after a start it can be too early for the right name.
NOT_SERVED: Final = "no charger of this name is served, or the account's list is not read yet"


_SITE_PREFIX: Final = f"{SITE}/"


def site_name(site_id: int) -> str:
    """Return the name of a site, the first two levels of its topics."""
    return f"{_SITE_PREFIX}{site_id}"


def site_id_of(name: str) -> int | None:
    """Return the id of a site by its name; None for any other name."""
    number = name.removeprefix(_SITE_PREFIX)
    is_site = name.startswith(_SITE_PREFIX) and number.isascii() and number.isdigit()
    return int(number) if is_site and len(number) <= MAX_ID_DIGITS else None


class Addressees:
    """The names of everything that is served, by kind.

    Args:
        kinds: What is served of each kind; read anew at each question.
    """

    def __init__(self, kinds: dict[Kind, Container[str]]) -> None:
        self._kinds = kinds

    def __contains__(self, name: object) -> bool:
        return any(name in served for served in self._kinds.values())

    def kind_of(self, name: str) -> Kind | None:
        """Return of which kind a name is; None when it is not served."""
        return next((kind for kind, served in self._kinds.items() if name in served), None)


def kind_of(known: Container[str], name: str) -> Kind | None:
    """Return of which kind a name is; a plain container holds chargers."""
    if isinstance(known, Addressees):
        return known.kind_of(name)
    return CHARGER if name in known else None
