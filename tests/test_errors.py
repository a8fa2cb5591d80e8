"""Errors: facts are attributes, and what is shown of foreign bytes is short."""

import inspect

from bridge import errors


def test_the_tree_in_the_docstring_names_every_error():
    """The drawing at the top of the module is complete."""
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]

    assert all(c.__name__ in errors.__doc__ for c in classes)
    assert all(issubclass(c, errors.BridgeError) for c in classes)


def test_an_excerpt_of_foreign_bytes_is_short_and_escaped():
    """A hostile payload neither floods a log line nor breaks out of it."""
    error = errors.DecodeError("no JSON", source="observation 109", raw="\x1b[31m\n" * 100)

    assert len(error.excerpt) <= errors.EXCERPT_CHARACTERS
    assert error.excerpt.isprintable()
    assert str(error) == "observation 109: no JSON"
