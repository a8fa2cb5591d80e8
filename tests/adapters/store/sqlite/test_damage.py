"""What is wrong with a file becomes alerts, each with what to do."""

import pytest

from bridge.adapters.store.row_format.digest import DAMAGE_HINT
from bridge.adapters.store.sqlite.damage import Damage
from bridge.core.records.store_problem import StoreProblem

KEEP = "check the disk, and keep that file; missing sessions are read from the cloud"
ASIDE = "the store was damaged; it was set aside as /x/b.corrupt.1, and 4 rows of it were saved"


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (Damage(), ()),
        (
            Damage("/x/b.corrupt.1", damaged=2, recovered=4),
            (
                StoreProblem("store_replaced", ASIDE, KEEP),
                StoreProblem(
                    "reports_damaged",
                    "2 stored rows fail their check and are not used",
                    DAMAGE_HINT,
                ),
            ),
        ),
        (
            Damage("/x/b.corrupt.1", recovered=4, is_incomplete=True),
            (
                StoreProblem(
                    "store_replaced", f"{ASIDE}; not all of it could be looked through", KEEP
                ),
            ),
        ),
        (
            Damage(recovered=4, is_incomplete=True),
            (
                StoreProblem(
                    "store_incomplete",
                    "a part of the store was missing or damaged; 4 rows of it were saved",
                    DAMAGE_HINT,
                ),
            ),
        ),
    ],
)
def test_each_kind_of_damage_is_a_problem_in_these_words(damage, problems):
    """The texts are public: they are retained under ``bridge/alert``."""
    assert damage.problems == problems
