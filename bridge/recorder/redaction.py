"""Stand-ins for everything in a record that is not the program's own.

Rules:

1. Every word of a record that the program itself does not contain is replaced, whatever it is: a
   list of what is personal would miss the next thing. Words of the program, numbers and times
   stay.
2. In a document, what is below a key that names personal data is replaced with the program's own
   words and all numbers. Long numbers of tags, personal observations and sites are replaced
   wherever they are.
3. A stand-in has the length, the case and the digits of what it stands for, equal words have equal
   stand-ins, and the beginning of a word has the beginning of its stand-in: what is cut is cut
   alike. Serials keep their order.
4. Hashes that the core makes of what was replaced are replaced by the hashes of the stand-ins, so
   that a redacted record replays to the redacted effects.
5. Stand-ins are made with the secret of this installation, which is in no record.
"""

import builtins
import errno
import hmac
import json
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import cache
from hashlib import sha256
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from bridge.conventions.sparkplug.payload import Payload, decode, encode, encode_metric
from bridge.core.commands.validation import message_digest
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.redaction import is_personal_name, names_person
from bridge.core.events import MqttAcked, MqttMessage
from bridge.core.records.observation import RawObservation
from bridge.core.records.unread_text import UnreadText
from bridge.core.topics import SPARKPLUG_NAMESPACE
from bridge.core.value_format import pseudonymize
from bridge.errors import BridgeError, DecodeError
from bridge.recorder.values import Plain, class_name, field_names, modules, plain, value_of

SALT: Final = b"a record has no salt of its own."
TOKEN: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?(?![^\W_])"
    r"|[^\W_]+"
)
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)")
# Texts whose stand-ins are remembered: most come again soon.
MAX_KEPT: Final = 5000
SERIAL: Final = re.compile(r"[A-Z]{2}\d{4,14}", re.ASCII)
QUANTITY: Final = re.compile(r"\d+(?:[eE]\d+|[A-Za-z]{1,2})?", re.ASCII)
CIRCUIT: Final = re.compile(r"(?<=/(?:sites)/)\d+|(?<=/circuits/)\d+", re.ASCII)
ADDRESS: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", re.ASCII)
# Fields of the project's classes, and keys of the vendor's documents, with ids of a site.
SITE_FIELDS: Final = frozenset({
    "site_id", "circuit_id", "siteid", "circuitid", "userid", "ownerid", "installerid",
})  # fmt: skip
PERSONAL_FIELDS: Final = frozenset({"auth", "username", "client_id", "host", "names", "tags"})
# Names of people and places under keys that also name other things.
NAMING_KEYS: Final = frozenset({"name", "description", "note", "title", "alias", "pincode"})
MIN_NUMBER, MIN_SITE, MIN_KNOWN = 5, 3, 3
NO_SERIALS: Final[Mapping[str, str]] = types.MappingProxyType({})
RAW, MESSAGE, UNREAD, ACKED = map(class_name, (RawObservation, MqttMessage, UnreadText, MqttAcked))
SPARKPLUG: Final = f"{SPARKPLUG_NAMESPACE}/"
ALPHABETS: Final = ("abcdefghijklmnopqrstuvwxyz", "0123456789")


@cache
def vocabulary() -> frozenset[str]:
    """Return the words of the program, in lower case: of its names and its texts."""
    return words_of(modules())


def words_of(found: Iterable[types.ModuleType]) -> frozenset[str]:
    """Return the words of modules, and of errors of the system."""
    words: set[str] = set()
    texts = {*dir(builtins), *map(os.strerror, errno.errorcode)}
    seen: set[int] = set()
    for module in found:
        for name, value in vars(module).items():
            texts.add(name)
            if not name.startswith("__"):
                texts.update(_texts(value, seen))
    for text in texts:
        words.update(word.casefold() for word in TOKEN.findall(text.replace("_", " ")))
    return frozenset(words)


def _texts(value: object, seen: set[int]) -> Iterator[str]:  # noqa: C901, PLR0912 - one case per kind
    """Yield the names and texts of what a module defines; docstrings are no texts of it."""
    if isinstance(value, str):
        yield value
    elif id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, re.Pattern):
        yield str(value.pattern)
    elif isinstance(value, types.FunctionType):
        yield from _code(value.__code__, value.__doc__)
    elif isinstance(value, type) and value.__module__.startswith("bridge."):
        for name, held in vars(value).items():
            if name != "__doc__":
                yield name
                yield from _texts(held, seen)
    elif isinstance(value, property | classmethod | staticmethod):
        yield from _texts(getattr(value, "fget", None) or getattr(value, "__func__", None), seen)
    elif isinstance(value, dict | types.MappingProxyType):
        for key, held in value.items():
            yield from _texts(key, seen)
            yield from _texts(held, seen)
    elif isinstance(value, tuple | list | frozenset | set):
        for held in value:
            yield from _texts(held, seen)
    elif _is_ours(value):
        for name in field_names(type(value)) or ():
            yield from _texts(getattr(value, name, None), seen)


def _is_ours(value: object) -> bool:
    is_row = is_dataclass(value) or isinstance(value, msgspec.Struct)
    return is_row and type(value).__module__.startswith("bridge.")


def _code(code: types.CodeType, doc: str | None) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_varnames
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            inner = one.co_consts[0] if one.co_consts else None
            yield from _code(one, inner if isinstance(inner, str) and "\n" in inner else None)
        elif isinstance(one, str) and one != doc:
            yield one
        elif isinstance(one, tuple | frozenset):
            yield from (each for each in one if isinstance(each, str))


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a record that must not stay.

    Attributes:
        serials: Of chargers.
        words: Replaced wherever they are, in lower case.
        texts: Whole texts that the core may have hashed.
        numbers: Ids of sites and circuits.
    """

    serials: set[str]
    words: set[str]
    texts: set[str]
    numbers: set[int]


class Redactor:
    """Replaces what one record, and what follows from it, holds of others."""

    def __init__(
        self,
        secret: bytes,
        serials: Mapping[str, str] = NO_SERIALS,
        words: frozenset[str] = frozenset(),
    ) -> None:
        """Begin without anything found.

        Args:
            secret: Of the installation; the salt of its hashes.
            serials: Stand-ins of serials that a record has already.
            words: More words of the program than those that a record may have.
        """
        self._secret = secret
        self._key = hmac.digest(secret, b"record", "sha256")
        self._found = Found(set(), set(), set(), set())
        self._serials = dict(serials)
        self._known = serials
        self._exact: dict[str, str] = {}
        self._exact_bytes: dict[bytes, bytes] = {secret: SALT}
        self._words: dict[str, str] = {}
        self._vocabulary = vocabulary() | words
        # Texts that were looked at, and once everything is learned what they are replaced with.
        self._looked_at: set[str] = set()
        self._replaced: dict[str, str] | None = None

    def learn(self, *said: Plain, entries: Iterable[Plain] = ()) -> None:
        """Find what must be replaced in plain values, before any of them is redacted.

        Args:
            said: Values.
            entries: More of them, gone through twice.
        """
        self._replaced = None
        for one in chain(said, entries):
            self._learn(one)
        self._looked_at.clear()
        ordered = sorted(self._found.serials - self._known.keys())
        self._serials = {**self._known} | {
            serial: f"{serial[:2]}{str(number).zfill(len(serial) - 2)}"
            for number, serial in enumerate(ordered, start=len(self._known) + 1)
        }
        for text in self._found.texts:
            hashed = pseudonymize(text, self._secret)
            self._exact[hashed[7:]] = pseudonymize(self.text(text), SALT)[7:]
        for one in chain(said, entries):
            self._pair(one)
        self._replaced = {}

    @property
    def serials(self) -> Mapping[str, str]:
        """Return the stand-ins of the serials that were found."""
        return self._serials

    # -- finding -----------------------------------------------------------------------------

    def _learn(self, said: Plain) -> None:
        if isinstance(said, str):
            self._learn_text(said)
        elif isinstance(said, bytes):
            with suppress(UnicodeDecodeError):
                self._learn_text(said.decode())
        elif isinstance(said, list):
            if said[:2] == ["v", RAW]:
                self._learn_observation(said)
            fields = _fields(said)
            if (payload := _sparkplug_payload(said)) is not None:
                self._learn(plain(payload))
            if fields is not None:
                for name, one in zip(said[2], fields, strict=False):
                    self._learn_field(name, one)
            for one in said if fields is None else fields:
                self._learn(one)

    def _learn_observation(self, said: Plain) -> None:
        fields = dict(zip(said[2], said[3:], strict=False))
        spec = REGISTRY.get(fields.get("id", 0))
        value = fields.get("value")
        if spec is not None and spec.personal and isinstance(value, str):
            self._personal(value)

    def _learn_field(self, name: str, value: Plain) -> None:
        if name.strip("_").lower() in SITE_FIELDS and isinstance(value, int):
            self._number(value)
        elif name in PERSONAL_FIELDS:
            for one in _strings(value):
                self._personal(one)

    def _learn_text(self, text: str) -> None:
        if text in self._looked_at:
            return
        if len(self._looked_at) >= MAX_KEPT:
            self._looked_at.clear()
        self._looked_at.add(text)
        self._found.serials.update(SERIAL.findall(text))
        for match in CIRCUIT.finditer(text):
            self._number(int(match[0]))
        for key, value in _pairs(text):
            if isinstance(value, str) and not TIME.fullmatch(value):
                self._found.texts.add(value)  # it may be one that is hashed
            if key.lower() in SITE_FIELDS and type(value) is int:
                self._number(value)
            elif is_personal_name(key) or key.lower() in NAMING_KEYS:
                self._personal(str(value))

    def _personal(self, text: str) -> None:
        """Have the long numbers of a text replaced wherever they are, and its hash."""
        self._found.texts.add(text)
        numbers = (word for word in TOKEN.findall(text) if word.isdigit())
        self._found.words.update(word for word in numbers if len(word) >= MIN_NUMBER)

    def _number(self, number: int) -> None:
        if number >= 10**MIN_SITE:
            self._found.numbers.add(number)
            self._found.words.add(str(number))

    def _pair(self, said: Plain) -> None:
        """Pair the hashes of what was recorded with those of its stand-ins."""
        if not isinstance(said, list):
            return
        fields = _fields(said)
        for one in said if fields is None else fields:
            if type(one) is list:
                self._pair(one)
        if said[:1] != ["v"] or said[1] not in HASHES:
            return
        with suppress(BridgeError, ValueError):
            was, now = value_of(said), value_of(self.plain(said))
            for hashed in HASHES[said[1]]:
                one, other = hashed(was), hashed(now)
                if isinstance(one, str):
                    self._exact[one] = str(other)
                elif isinstance(other, bytes):
                    self._exact_bytes[one] = other

    # -- replacing ---------------------------------------------------------------------------

    def plain(self, said: Plain) -> Plain:  # noqa: C901, PLR0912 - one case per kind
        """Return a plain value without what is not the program's own."""
        if isinstance(said, str):
            return self.text(said)
        if isinstance(said, bytes):
            return self.bytes(said)
        if type(said) is int:
            return self._int(said)
        if not isinstance(said, list) or not said:
            return said
        kind = said[0]
        if not isinstance(kind, str):
            return self._items(said)
        if kind in FIXED:
            return said
        if kind == "v":
            if (payload := _sparkplug_payload(said)) is not None:
                # The text of a payload with lengths in it cannot be replaced in place.
                shown = _without_texts(payload, self.text)
                return [*said[:3], self.text(said[3]), shown, *map(self.plain, said[5:])]
            return [*said[:3], *map(self.plain, said[3:])]
        if kind == "o":
            return [*said[:3], list(map(self.plain, said[3]))]
        if kind == "m" and len(said) > 1 and isinstance(said[1], str):
            return ["m", said[1], *map(self._items, said[2:])]
        if kind in ("c", "x", "w", "V"):
            return [*said[:2], *map(self.plain, said[2:])]
        if kind == "b":
            return [kind, self.plain(said[1]), *said[2:]]
        if kind == "M":
            return [*said[:2], self._items(said[2]), self._items(said[3])]
        if kind in ("L", "Z", "Q"):
            return [kind, self._items(said[1]), *said[2:]]
        if kind in WITH_VALUES:
            return [kind, *map(self.plain, said[1:])]
        return self._items(said)

    def _items(self, said: Plain) -> Plain:
        return list(map(self.plain, said))

    def text(self, text: str) -> str:
        """Return a text without words that are not the program's own."""
        if self._replaced is None:
            return self._text(text)
        found = self._replaced.get(text)
        if found is None:
            if len(self._replaced) >= MAX_KEPT:
                self._replaced.clear()
            found = self._replaced[text] = self._text(text)
        return found

    def _text(self, text: str) -> str:
        text = ADDRESS.sub(lambda match: self._stand_in(match[0], "address"), text)
        forced = [str(value) for key, value in _pairs(text) if names_person(key)]
        if forced:
            spelled = "|".join(sorted(map(_spelled, forced), key=len, reverse=True))
            within = rf'(?<=")(?:{spelled})(?=\\*")|(?<=[:,\s\[])(?:{spelled})(?=[,\s}}\]])'
            text = re.sub(within, lambda match: self._forced(match[0]), text)
        return TOKEN.sub(lambda match: self._word(match[0]), text)

    def _forced(self, text: str) -> str:
        return TOKEN.sub(lambda match: self._stand_in(match[0], ""), text)

    def known(self, text: str, of: Iterable[Plain]) -> str:
        """Return a text without serials, addresses and the words of some plain values.

        For texts that have words of other programs in them.

        Args:
            text: The text.
            of: Plain values whose words are replaced, unless they are the program's own.
        """
        words = {
            word.casefold()
            for one in _strings(["", *of])
            for word in TOKEN.findall(one)
            if len(word) >= MIN_KNOWN
        } - self._vocabulary
        text = ADDRESS.sub(lambda match: self._stand_in(match[0], "address"), text)

        def shown(match: re.Match[str]) -> str:
            word = match[0]
            return self._word(word) if word.casefold() in words or word in self._serials else word

        return TOKEN.sub(shown, text)

    def bytes(self, said: bytes) -> bytes:
        """Return bytes without words that are not the program's own; what is no text is random."""
        exact = self._exact_bytes.get(said)
        if exact is not None:
            return exact
        try:
            return self.text(said.decode()).encode()
        except UnicodeDecodeError:
            stream = hmac.digest(self._key, said, "sha256")
            return b"\xff" + (stream * (len(said) // len(stream) + 1))[: len(said) - 1]

    def _int(self, number: int) -> int:
        return int(self._word(str(number))) if number in self._found.numbers else number

    def _word(self, word: str) -> str:
        if word in self._exact:
            return self._exact[word]
        serial = self._serials.get(word) or self._serials.get(word.upper(), "").lower()
        if serial:
            return serial
        folded = word.casefold()
        if folded not in self._found.words:
            is_own = folded in self._vocabulary or len(word) == 1 or "-" in word
            if is_own or QUANTITY.fullmatch(word):
                return word
        return self._stand_in(word, "")

    def _stand_in(self, word: str, purpose: str) -> str:
        """Return what stands for a word: every letter moved in its alphabet, by what is before."""
        found = self._words.get(word)
        if found is None:
            folded = purpose + word.lower()
            found = "".join(
                self._moved(char, folded[: len(purpose) + at]) for at, char in enumerate(word)
            )
            if found[0] == "0" != word[0]:
                found = f"9{found[1:]}"  # as a number it has no zero in front
            self._words[word] = found
        return found

    def _moved(self, char: str, before: str) -> str:
        lower = char.lower()
        for alphabet in ALPHABETS:
            if lower in alphabet:
                by = hmac.digest(self._key, before.encode("utf-8", "replace"), "sha256")[0]
                at = (alphabet.index(lower) + 1 + by % (len(alphabet) - 1)) % len(alphabet)
                return alphabet[at].upper() if char != lower else alphabet[at]
        if char.isalnum():
            return OTHER_LETTERS.get(len(char.encode("utf-8", "replace")), "x")
        return char


# A letter that is none of ASCII, by how many bytes it takes.
OTHER_LETTERS: Final = {2: "ø", 3: "ẋ", 4: "\U00010400"}
# Kinds of plain values without anything of others.
FIXED: Final = frozenset({"i", "k", "d", "D", "e", "n", "S", "T", "u", "r"})
# Kinds with values behind their letter; what begins with another is a list of values.
WITH_VALUES: Final = frozenset({"t", "f", "s", "l", "q", "B", "p"})
# What the core hashes, by class.
HASHES: Final[dict[str, tuple[Callable[[Any], str | bytes]]]] = {
    MESSAGE: (message_digest,),
    UNREAD: (lambda text: text.key.rpartition("-u")[2],),
    ACKED: (lambda acked: sha256(acked.message.payload).digest(),),
}


def _spelled(text: str) -> str:
    """Return an expression for a text as documents spell it, with and without escapes."""
    ways = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return "|".join(map(re.escape, sorted(ways)))


def _fields(said: Plain) -> Any:
    """Return the values of an object's fields; None for another plain value."""
    if len(said) > 2 and said[0] in ("v", "o"):  # noqa: PLR2004 - letter, class, names
        return said[3:] if said[0] == "v" else said[3]
    return None


def _sparkplug_payload(said: Plain) -> Payload | None:
    """Return the payload of a Sparkplug message; None of anything else."""
    is_message = said[:2] == ["v", MESSAGE] and said[2][:2] == ["topic", "payload"]
    if not is_message or not said[3].startswith(SPARKPLUG):
        return None
    with suppress(DecodeError):
        return decode(said[4])
    return None


def _without_texts(payload: Payload, text: Callable[[str], str]) -> bytes:
    """Return a Sparkplug payload with each text replaced."""
    metrics = []
    for one in payload.metrics:
        value = text(one.value) if isinstance(one.value, str) else one.value
        properties = tuple(
            (key, kind, text(held) if isinstance(held, str) else held)
            for key, kind, held in one.properties
        )
        shown = replace(one, name=text(one.name), value=value, properties=properties)
        metrics.append(encode_metric(shown))
    return encode(payload.timestamp, metrics, payload.seq)


def _strings(said: Plain) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):
        for one in said[1:]:
            yield from _strings(one)


def _pairs(text: str) -> list[tuple[str, object]]:
    """Return keys and plain values of a JSON document, of documents within it too."""
    found: list[tuple[str, object]] = []
    if "{" in text:
        with suppress(ValueError, RecursionError):
            _collect("", json.loads(text[min(text.find("{"), text.find("[") % 2**31) :]), found)
    return found


def _collect(key: str, value: object, found: list[tuple[str, object]]) -> None:
    if isinstance(value, dict):
        for name, one in value.items():
            # What is below a personal field is personal.
            _collect(key if key and names_person(key) else name, one, found)
    elif isinstance(value, list):
        for one in value:
            _collect(key, one, found)
    elif isinstance(value, str) and "{" in value:
        found.append((key, value))
        with suppress(ValueError, RecursionError):
            _collect(key, json.loads(value), found)
    elif value is not None and not isinstance(value, bool):
        found.append((key, value))
