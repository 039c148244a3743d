"""`freehold keys`: a key is shown once, listed without its secret, and revoked at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from freehold.cli import main
from freehold.serve.accounts import Accounts

pytestmark = pytest.mark.usefixtures("empty_home")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.call(["keys", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_key_is_shown_once_and_works(capsys: pytest.CaptureFixture[str], empty_home: Path) -> None:
    code, key, hint = call(capsys, "add", "laptop")
    assert code == 0
    assert re.fullmatch(r"fh-[\w-]{43}\n", key)
    assert "cannot be shown again" in hint
    accounts = Accounts.open()
    user = accounts.key_user(key.strip())
    accounts.close()
    assert user is not None
    assert user.name == "owner"
    assert key.strip() not in call(capsys, "list")[1]
    assert key.strip().encode() not in (empty_home / "freehold.db").read_bytes()


def test_a_key_may_be_somebody_elses(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "add", "phone", "--user", "ada")
    _, out, _ = call(capsys, "list")
    assert "phone" in out
    assert "ada" in out


def test_without_keys_the_list_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--revoked"]):
        assert call(capsys, "list", *options)[2] == "No keys yet; `freehold keys add NAME` makes one.\n"


def test_a_revoked_key_leaves_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "add", "laptop")
    code, out, _ = call(capsys, "revoke", "laptop")
    assert code == 0
    assert out.startswith("Revoked laptop (key_")
    assert call(capsys, "list")[2] == ("No live keys (--revoked shows 1); `freehold keys add NAME` makes one.\n")
    assert "laptop" in call(capsys, "list", "--revoked")[1]


def test_what_cannot_be_done_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "add", "laptop")
    assert call(capsys, "add", "laptop")[0] == 1
    code, _, error = call(capsys, "revoke", "desktop")
    assert code == 1
    assert "no live key 'desktop'" in error
    assert call(capsys, "add", "a\x1b[31m")[0] == 1
    assert call(capsys)[0] == 2


def test_markup_in_a_name_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "add", "[red]loud[/red]")
    assert "[red]loud[/red]" in call(capsys, "list")[1]
