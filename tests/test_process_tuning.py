"""The process is small: checked in a fresh interpreter, for this one has loaded everything."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from bridge import process_tuning
from bridge.process_tuning import TOUCHED_PAGES, TRIMS_AFTER_USE, Trimming, import_blocked


def fresh(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_library_brings_others_along():
    """What a gateway is made of loads none of what is hidden, though all of it may be installed."""
    loaded = fresh(
        "from bridge.process_tuning import BLOCKED_EXTRAS, load_libraries; load_libraries();"
        "import sys, bridge.app;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {*BLOCKED_EXTRAS}))"
    )

    assert loaded == ""


def test_the_command_line_brings_nothing_along():
    """What is hidden stays hidden for the program as it is started, before it has a command."""
    loaded = fresh(
        "import gc, sys, bridge.__main__ as program\n"
        "from bridge.process_tuning import BLOCKED_EXTRAS\n"
        "sys.argv = ['charger-bridge', '--version']\n"
        "try: program.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {*BLOCKED_EXTRAS}),"
        "gc.isenabled())"
    )

    assert loaded.splitlines()[-1] == "True"


def test_what_few_need_is_not_loaded():
    """Without mistakes, schedules, Sparkplug and a cluster, none of their modules is loaded."""
    loaded = fresh(
        "import sys; from bridge.config import loading;"
        "from bridge.process_tuning import load_libraries; load_libraries();"
        "import bridge.app; from bridge.recorder.values import row_names; row_names();"
        "print({'difflib', 'bz2', 'lzma', 'pkgutil', 'zipfile', 'sysconfig', 'zoneinfo',"
        " 'bridge.cluster.supervisor',"
        " 'bridge.core.speaker.composition', 'bridge.conventions.sparkplug.convention',"
        " 'bridge.recorder.replaying'} & {*sys.modules})"
    )

    assert loaded == "set()"


def test_what_is_deferred_is_loaded_when_it_is_used():
    """A stand-in answers for the module from the first use on, inside the block and after it."""
    found = fresh(
        "import sys; from bridge.process_tuning import import_deferred\n"
        "with import_deferred('importlib.metadata'):\n"
        "    import importlib.metadata\n"
        "    held = importlib.metadata\n"
        "print('zipfile' in sys.modules, 'importlib.metadata' in sys.modules)\n"
        "print(held.version('charger-bridge') == importlib.metadata.version('charger-bridge'))\n"
        "import importlib.metadata as real; print(real.version is held.version, real is not held)\n"
        "with import_deferred('importlib.metadata'):\n"
        "    print(sys.modules['importlib.metadata'] is real)"
    ).split()

    assert found == ["False", "False", "True", "True", "True", "True"]


def test_what_was_hidden_can_be_imported_afterwards():
    """The demo shows its live view all the same, and what was loaded before stays."""
    with import_blocked("colorsys_that_is_not", "json"), pytest.raises(ImportError):
        __import__("colorsys_that_is_not")
    done = fresh(
        "from bridge.process_tuning import import_blocked\n"
        "with import_blocked('colorsys'):\n"
        "    try: import colorsys\n"
        "    except ImportError: print('hidden')\n"
        "import colorsys; print('found')"
    )

    assert done.split() == ["hidden", "found"]
    assert "json" in sys.modules
    assert "colorsys_that_is_not" not in sys.modules


def test_what_the_start_needed_is_not_collected_again():
    """The collector rests while modules load; then it leaves them alone, and looks less often."""
    found = fresh(
        "import gc; from bridge.process_tuning import COLLECT_EVERY, load_libraries, tune_gc;"
        "load_libraries(); print(gc.isenabled()); tune_gc();"
        "print(gc.isenabled(), gc.get_freeze_count() > 0, gc.get_threshold()[0] == COLLECT_EVERY)"
    ).split()

    assert found == ["False", "True", "True", "True"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do not keep it")
def test_what_a_burst_left_is_given_back():
    """Memory freed below a block that stays is resident no longer, without waiting for a top."""
    freed, kept = fresh(
        "from pathlib import Path\n"
        "from bridge.process_tuning import trim_heap, tune_gc; tune_gc()\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "burst = [bytes(2000) for _ in range(5000)]; stays = bytes(2000)\n"
        "del burst; before = resident(); trim_heap(); print(before - resident(), len(stays))"
    ).split()

    assert int(freed) > 5_000_000
    assert int(kept) == 2000


def test_an_allocator_that_cannot_be_asked_is_left_alone():
    """Without ctypes, as where memory may not become code, everything else works."""
    said = fresh(
        "import sys; sys.modules['ctypes'] = None\n"
        "from bridge.process_tuning import trim_heap, tune_gc\n"
        "tune_gc(); trim_heap(); print('well')"
    )

    assert said == "well"


def test_what_is_idle_is_not_trimmed(monkeypatch):
    """The heap is trimmed for a while after memory was touched, and then no more."""
    usage = SimpleNamespace(ru_minflt=TOUCHED_PAGES)
    monkeypatch.setattr(process_tuning.resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(process_tuning, "trim_heap", lambda: None)
    trimming = Trimming()

    after_start = [trimming.trim() for _ in range(TRIMS_AFTER_USE + 2)]
    usage.ru_minflt += TOUCHED_PAGES - 1
    hardly = trimming.trim()
    usage.ru_minflt += TOUCHED_PAGES
    again = trimming.trim()

    assert after_start == [True] * TRIMS_AFTER_USE + [False, False]
    assert (hardly, again) == (False, True)
