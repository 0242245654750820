from __future__ import annotations

import pytest

from paris_p2p import errors
from paris_p2p.errors import Held, ParisError, UsageProblem, error_from, error_with_code, extra

KINDS = [ParisError, *ParisError.__subclasses__()]


def test_the_line_is_the_message_and_then_the_remedy() -> None:
    error = Held("expert 3 is held by 12D3KooW", "Choose another with --expert")
    assert str(error) == "expert 3 is held by 12D3KooW. Choose another with --expert"
    assert (error.message, error.remedy) == error.args


def test_the_line_is_one_line() -> None:
    assert str(ParisError("one\ntwo")) == "one two"


def test_every_kind_has_its_own_exit_code() -> None:
    codes = {kind.exit_code for kind in KINDS}
    assert len(codes) == len(KINDS)
    assert all(0 < code < 256 for code in codes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_in_the_docstring_is_complete(kind: type[ParisError]) -> None:
    drawn = [line.lstrip(" ├└─").split() for line in (errors.__doc__ or "").splitlines()]
    assert [kind.__name__, str(kind.exit_code)] in [words[:2] for words in drawn]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_made_again_from_its_exit_code(kind: type[ParisError]) -> None:
    error = error_with_code(kind.exit_code, "held", "wait")
    assert type(error) is kind
    assert str(error) == "held. Wait"


def test_an_error_is_made_again_from_an_event() -> None:
    error = error_from({"message": "held", "remedy": "wait", "exit_code": Held.exit_code})
    assert isinstance(error, Held)
    assert type(error_from({"message": "oops"})) is ParisError
    assert type(error_with_code(99, "oops")) is ParisError


def test_an_import_of_an_extra_that_is_not_installed_says_how_to_install_it() -> None:
    with pytest.raises(UsageProblem) as caught, extra("data"):
        import no_such_package  # noqa: F401
    assert str(caught.value) == (
        "this needs no_such_package, which is not installed. Run: pip install 'paris-p2p[data]'"
    )
