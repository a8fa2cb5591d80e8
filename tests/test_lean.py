"""The process is small: checked in a fresh interpreter, for this one has loaded everything."""

import subprocess
import sys

import pytest

from bridge.lean import without


def fresh(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_library_brings_others_along():
    """What a gateway is made of loads neither rich nor click, though both may be installed."""
    loaded = fresh(
        "from bridge.lean import load_libraries; load_libraries(); import sys, bridge.app;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'rich', 'click'}))"
    )

    assert loaded == ""


def test_what_was_hidden_can_be_imported_afterwards():
    """The demo shows its live view all the same, and what was loaded before stays."""
    with without("colorsys_that_is_not", "json"), pytest.raises(ImportError):
        __import__("colorsys_that_is_not")
    done = fresh(
        "from bridge.lean import without\n"
        "with without('colorsys'):\n"
        "    try: import colorsys\n"
        "    except ImportError: print('hidden')\n"
        "import colorsys; print('found')"
    )

    assert done.split() == ["hidden", "found"]
    assert "json" in sys.modules
    assert "colorsys_that_is_not" not in sys.modules


def test_what_the_start_needed_is_not_collected_again():
    """The collector leaves it alone, and looks less often."""
    frozen, threshold = fresh(
        "import gc; from bridge.lean import COLLECT_EVERY, settle; settle();"
        "print(gc.get_freeze_count() > 0, gc.get_threshold()[0] == COLLECT_EVERY)"
    ).split()

    assert (frozen, threshold) == ("True", "True")
