import inspect

import pytest

from neurofm import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", KINDS)
def test_one_except_catches_every_error(kind: type[errors.NeurofmError]) -> None:
    assert issubclass(kind, errors.NeurofmError)


def test_exit_codes_are_2_and_3_for_a_check_that_failed() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes.pop("CheckFailed") == 3
    assert set(codes.values()) == {2}


def test_the_drawn_tree_names_every_error() -> None:
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in KINDS)


def test_a_message_is_one_printable_line_whatever_it_names() -> None:
    text = str(errors.InputError(f"a\x1b[2J\nb\u202e\ud800: {'x' * 100_000} is wrong."))
    assert text.isprintable()
    assert text.startswith("a\ufffd[2J\ufffdb\ufffd\ufffd: xxx")
    assert text.endswith("xxx is wrong.")
    assert len(text) < 2100
    assert str(errors.InputError("Zürich 東京 is fine.")) == "Zürich 東京 is fine."


def test_lines_and_tabs_stay_where_there_may_be_several() -> None:
    assert errors.clean_lines("a\tb\r\nc\x07\nd") == "a\tb\nc\ufffd\nd"
