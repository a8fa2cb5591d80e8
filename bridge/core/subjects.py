"""What a question is about: a topic of the bridge, in parts."""

import msgspec

BRIDGE = "bridge"


class Subject(msgspec.Struct, frozen=True):
    """A topic below the base topic.

    Attributes:
        device: Serial of a charger or an Equalizer, or ``bridge``.
        branch: ``observation``, ``state``, ``result``, ``set``, ``session``, ``alert``, …
        name: The rest.
    """

    device: str
    branch: str
    name: str = ""


def subject_of(topic: str, base: str) -> Subject:
    """Return what a topic is about, with or without the base topic in front of it."""
    device, _, rest = topic.removeprefix(f"{base}/").partition("/")
    branch, _, name = rest.partition("/")
    return Subject(device, branch, name)
