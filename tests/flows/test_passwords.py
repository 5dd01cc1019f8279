"""No password of an address gets into what is written down."""

import pytest

from flows.passwords import hide_passwords, without_password


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("runtime.tracking.uri=postgresql://me:secret@db:5432/x", "runtime.tracking.uri=postgresql://me:***@db:5432/x"),
        ("uri: http://me:s@cret@db and http://you:two@db", "uri: http://me:***@db and http://you:***@db"),
        ("http://:secret@db", "http://:***@db"),
        ("http://db:5000 is for me@db", "http://db:5000 is for me@db"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_passwords_are_hidden_in_any_text(text: str, hidden: str) -> None:
    assert hide_passwords(text) == hidden


def test_an_address_is_told_without_whoever_signs_in() -> None:
    assert without_password("postgresql://me:secret@db:5432/mlflow?x=1") == "postgresql://db:5432/mlflow?x=1"
    assert without_password("http://me:s@cret@[::1]:5000/") == "http://[::1]:5000/"
    assert without_password("sqlite:////a/b.db") == "sqlite:////a/b.db"
