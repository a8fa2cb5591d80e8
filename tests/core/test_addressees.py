"""What a command can be addressed to: each name is of one kind, or not served."""

from bridge.core.addressees import CHARGER, EQUALIZER, SITE, Addressees, kind_of


def test_a_name_is_of_the_kind_that_serves_it_now():
    """What is served later counts later, and a name that nothing serves is of no kind."""
    equalizers = {}
    known = Addressees({CHARGER: ("EH123456",), EQUALIZER: equalizers, SITE: ("site/7",)})
    assert known.kind_of("QP123456") is None
    assert "QP123456" not in known
    equalizers["QP123456"] = object()
    assert [known.kind_of(name) for name in ("EH123456", "QP123456", "site/7")] == [
        CHARGER,
        EQUALIZER,
        SITE,
    ]
    assert "QP123456" in known


def test_a_plain_container_holds_chargers():
    """Where only chargers are served, no kinds are needed."""
    assert kind_of(("EH123456",), "EH123456") == CHARGER
    assert kind_of(("EH123456",), "QP123456") is None
    assert kind_of(Addressees({SITE: ("site/7",)}), "site/7") == SITE
