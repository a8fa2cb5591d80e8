"""Whatever comes over a border is read or refused: every border, bytes of every kind.

`make fuzz` runs the same targets guided by coverage, for as long as you like.
"""

import contextlib
import resource
import time
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import core
from tests.fuzz.borders import BORDERS
from tests.fuzz.seeds import BASIC, BOMBS, SEEDS, WORDS, dictionary

# Of processor time: what is not bounded takes minutes, and a loaded machine is no defect.
SLOWEST_S = 10.0
# Beyond what the process has already; the longest bomb is 10 MB.
MAX_BYTES = 128 * 2**20
# Inputs that once broke a promise.
FOUND = [
    ("command_row", b"start\xff\xfe\xff\xfe\xff\xfesent\xff\xfe\xff\xfe" + b'{"argument":"\x8e"}'),
]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Drop log lines, there would be thousands; begin each input with a new core."""
    monkeypatch.setattr(core.CORE, "most", 1)
    monkeypatch.setattr(core.CORE, "every", 1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Make inputs that are nearly sound: pieces of seeds, words of our tables, any bytes."""
    piece = st.builds(
        lambda seed, start, length: seed[start : start + length],
        st.sampled_from(seeds),
        st.integers(0, 200),
        st.integers(0, 400),
    )
    word = st.sampled_from([word.encode() for word in WORDS])
    return st.lists(piece | word | st.binary(max_size=8), min_size=1, max_size=8).map(b"".join)


def test_every_border_has_seeds():
    """A target that begins with nothing finds little."""
    assert SEEDS.keys() == BORDERS.keys()
    assert all(line.startswith('"') for line in dictionary().splitlines())


@pytest.mark.parametrize("name", BORDERS)
def test_sound_inputs_are_taken(name):
    """What each border is for passes it, and so do the smallest inputs."""
    for content in (*SEEDS[name], *BASIC):
        BORDERS[name](content)


@pytest.mark.parametrize("name", BORDERS)
@given(data=st.data())
def test_no_bytes_break_a_border(name, data):
    """Nearly sound inputs raise nothing but the named errors, and nothing gets out."""
    BORDERS[name](data.draw(mutated([*SEEDS[name], *BASIC])))


@contextlib.contextmanager
def little_memory():
    """Give the process only so much more address space: who wants more gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_too_much_memory_would_be_found():
    """The limit bites."""
    with little_memory(), pytest.raises(MemoryError):
        bytes(2 * MAX_BYTES)


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_bounded_in_time_and_memory(bomb):
    """No depth, length, number or repetition makes any border work long or keep much."""
    content = BOMBS[bomb]
    for name, border in BORDERS.items():
        started_s = time.process_time()
        with little_memory():
            border(content)
        assert time.process_time() - started_s < SLOWEST_S, name


@pytest.mark.parametrize(("name", "content"), FOUND)
def test_what_fuzzing_found_stays_mended(name, content):
    """An input that once broke a promise does not any more."""
    BORDERS[name](content)
