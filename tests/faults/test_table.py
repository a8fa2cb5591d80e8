"""The fault table cannot drift: what does not fit together is named."""

from dataclasses import replace

from tools import gen_faults
from tools.gen_faults import FAULTS, MAKEFILE, Proof, marks, problems

TARGETS = MAKEFILE.read_text(encoding="utf-8")
SHOWN = [Proof("tests/test_x.py", "test_x")]


def test_every_fault_is_in_the_table_in_order_and_all_of_it_fits():
    """Each has a test, a make target or a reason, and every mark names one of them."""
    assert list(FAULTS) == [f"F{number}" for number in range(1, len(FAULTS) + 1)]
    assert list(problems(marks(), TARGETS)) == []


def test_what_does_not_fit_is_named(monkeypatch):
    """An unknown number, a fault that nothing shows, a reason too many, a target that is gone."""
    shown = {**marks(), "F99": SHOWN}
    monkeypatch.setitem(FAULTS, "F7", replace(FAULTS["F7"], reason="there is no such disk here"))
    monkeypatch.setitem(FAULTS, "F40", replace(FAULTS["F40"], targets=("soak-gone",)))
    shown.pop("F9")
    found = "; ".join(problems(shown, TARGETS))

    assert "F99, which is not in the table" in found
    assert "F9 has neither a test nor a reason" in found
    assert "F7 has a reason why nothing shows it, and something does" in found
    assert "F40 names make soak-gone" in found


def test_a_mark_is_found_where_it_stands(tmp_path, monkeypatch):
    """Marks are read from the source: several numbers, beside other decorators, async or not."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text(
        '@pytest.mark.anyio\n@pytest.mark.fault("F1", "F2")\nasync def test_x(): ...\n'
        "def test_y(): ...\n"
    )
    monkeypatch.setattr(gen_faults, "ROOT", tmp_path)
    monkeypatch.setattr(gen_faults, "TESTS", tmp_path / "tests")

    assert marks() == {"F1": SHOWN, "F2": SHOWN}
