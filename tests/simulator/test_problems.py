from bridge.simulator.problems import (
    NOTHING_CHANGED,
    business_error,
    charger_disconnected,
    forbidden,
    validation_error,
)


def test_business_errors_name_their_code():
    """The vendor's shape: a problem document with errorCode and errorCodeName."""
    answer = business_error(105, "RefreshTokenExpired", "Expired", status=401)

    assert answer.status == 401
    assert answer.document["errorCodeName"] == "RefreshTokenExpired"
    assert charger_disconnected().document["errorCode"] == 410


def test_validation_errors_name_their_fields():
    """A 400 with an errors map and no errorCode."""
    answer = validation_error({"amps": ["wrong"]})

    assert answer.status == 400
    assert answer.document["errors"] == {"amps": ["wrong"]}
    assert "errorCode" not in answer.document


def test_the_other_answers_have_their_status():
    """Forbidden is 403, nothing to do is 202 with an empty list."""
    assert forbidden("Installers only").status == 403
    assert (NOTHING_CHANGED.status, NOTHING_CHANGED.document) == (202, [])
