"""Keys, one-time links and sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import ConfigError, NotFoundError
from freehold.serve import accounts as accounts_module
from freehold.serve.accounts import Accounts


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    opened = Accounts.open(tmp_path / "f.db")
    yield opened
    opened.close()


def test_a_key_works_until_it_is_revoked(accounts: Accounts) -> None:
    assert not accounts.has_keys()
    info, key = accounts.add_key("laptop", "ann")
    assert key.startswith("fh-")
    assert len(key) > 40
    assert info.hint.rstrip("…") == key[:8]
    assert accounts.has_keys()
    user = accounts.key_user(key)
    assert user is not None
    assert user.name == "ann"
    assert accounts.list_keys()[0].last_used_at is not None
    for wrong in (key + "x", key[:-1], "", "fh-", key.upper()):
        assert accounts.key_user(wrong) is None
    assert accounts.revoke_key("laptop").id == info.id
    assert accounts.key_user(key) is None
    assert accounts.list_keys() == []
    assert [k.name for k in accounts.list_keys(revoked=True)] == ["laptop"]
    with pytest.raises(NotFoundError, match="laptop"):
        accounts.revoke_key("laptop")


def test_names_of_keys_are_their_own_and_plain(accounts: Accounts) -> None:
    accounts.add_key("laptop")
    with pytest.raises(ConfigError, match="exists"):
        accounts.add_key("laptop")
    accounts.revoke_key("laptop")
    accounts.add_key("laptop")
    for name in ("", "a\x1b[2J", "x" * 201, "a\nb"):
        with pytest.raises(ConfigError, match="control character"):
            accounts.add_key(name)


def test_a_sign_in_link_works_once(accounts: Accounts) -> None:
    token = accounts.new_signin("ann")
    session = accounts.redeem(token, seconds=60)
    assert session is not None
    assert accounts.redeem(token, seconds=60) is None
    assert accounts.redeem("never made", seconds=60) is None
    user = accounts.session_user(session)
    assert user is not None
    assert user.name == "ann"
    assert accounts.session_user(token) is None
    accounts.end_session(session)
    assert accounts.session_user(session) is None
    accounts.end_session(session)


def test_links_and_sessions_expire(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    late = accounts.new_signin(seconds=100)
    session = accounts.redeem(accounts.new_signin(), seconds=100)
    assert session is not None
    now = accounts_module.now_us() + 101 * 1_000_000
    monkeypatch.setattr(accounts_module, "now_us", lambda: now)
    assert accounts.redeem(late, seconds=100) is None
    assert accounts.session_user(session) is None
