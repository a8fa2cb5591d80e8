"""Names of tags: by tag or by hash, from the configuration and from a file."""

import pytest

from bridge.config.tags import TagNames, tag_pairs
from bridge.core.value_format import pseudonymize
from bridge.errors import ConfigError
from bridge.settings import PublishSettings

SALT = b"salt"


def test_a_tag_is_named_by_itself_or_by_its_published_hash():
    """In capitals or not; what has no name has none."""
    pairs = (("04AABB", "Kari"), (pseudonymize("04CCDD", SALT), "Ola"))
    names = TagNames(pairs, SALT)
    assert [names.name_of(tag) for tag in ("04aabb", "04CCDD", "04EE", "")] == [
        "Kari",
        "Ola",
        "",
        "",
    ]
    assert names.name_of(pseudonymize("04CCDD", SALT)) == "Ola"
    assert TagNames(pairs, b"").name_of("04CCDD") == ""


def test_a_file_adds_to_the_configuration(tmp_path):
    """Comments and empty lines are left out; the file's name of a tag counts."""
    path = tmp_path / "tags"
    path.write_text("\ufeff# who\n\n 04AABB = Kari Nordmann \nsha256:ab=Ola=2\n", "utf-8")
    settings = PublishSettings(tags=(("04aabb", "Kari"),), tags_file=str(path))
    names = TagNames(tag_pairs(settings), SALT)
    assert (names.name_of("04AABB"), names.name_of("sha256:ab")) == ("Kari Nordmann", "Ola=2")
    assert tag_pairs(PublishSettings(tags=(("1", "x"),))) == (("1", "x"),)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"04AABB Kari\n", "line 1 of"),
        (b"# x\n=Kari\n", "line 2 of"),
        (b"\xff=Kari\n", "no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path, content, problem):
    """It names the line, and no tag."""
    path = tmp_path / "tags"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as found:
        tag_pairs(PublishSettings(tags_file=str(path)))
    assert problem in found.value.problems[0]
    assert "04AABB" not in found.value.problems[0]
    with pytest.raises(ConfigError):
        tag_pairs(PublishSettings(tags_file=str(tmp_path / "missing")))
