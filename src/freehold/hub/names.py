"""The strict patterns of every name that becomes part of a path or of a URL."""

from __future__ import annotations

import re
from pathlib import Path

from freehold.errors import PullError, WeightsError

__all__ = ["check_file_name", "check_links", "check_name", "check_repository", "check_revision", "slug"]

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.))*", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_/-]|\.(?!\.))*", re.ASCII)
MAX_CHARS = 128
MAX_REPOSITORY_CHARS = 96
"""The hub's own bounds; without `--`, `org--repo` names one repository only."""


def check_name(name: str) -> str:
    """Gives a model's name back, if it is one: letters, digits, `.`, `_` and `-`, first a letter or digit.

    Raises:
        PullError: It is anything else, a path or an escape such as `%2e%2e` among them.
    """
    return _check(_PLAIN, name, "a model's name")


def check_repository(repository: str) -> str:
    """Gives a hub repository's name back, if it is `org/repo` with two plain names.

    Raises:
        PullError: It is anything else.
    """
    organisation, _, name = repository.partition("/")
    if "--" in repository or len(repository) > MAX_REPOSITORY_CHARS:
        raise PullError(
            f"{repository[:80]!r} is no repository: it has at most {MAX_REPOSITORY_CHARS} characters and no '--'."
        )
    if not _PLAIN.fullmatch(organisation) or not _PLAIN.fullmatch(name):
        raise PullError(
            f"{f'hf:{repository}'!r} is not a repository of the hub: write hf:org/repo, two names of letters, digits, "
            "'.', '_' and '-', each beginning with a letter or digit, as in hf:deepseek-ai/DeepSeek-V3."
        )
    return repository


def check_revision(revision: str) -> str:
    """Gives a revision back, if it looks like a branch, tag or commit.

    Raises:
        PullError: It is anything else.
    """
    return _check(_REVISION, revision, "a revision")


def check_file_name(name: str) -> str:
    """Gives the name of a file in a model's folder back, if it is plain: no folders, nothing hidden.

    Raises:
        PullError: It is anything else.
    """
    return _check(_PLAIN, name, "a file's name")


def slug(text: str) -> str:
    """Turns any text into a model's name: what is not allowed becomes `-`."""
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", text)).lstrip("._-").lower()
    return check_name(plain[:MAX_CHARS] or "model")


def check_links(folder: Path) -> None:
    """Refuses a model folder in which a symbolic link points out of it.

    Raises:
        WeightsError: A link leads elsewhere; the message names it.
    """
    root = folder.resolve()
    for path in folder.iterdir():
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise WeightsError(
                f"{path} is a symbolic link to {path.resolve()}, outside the model's folder; "
                f"copy the files themselves: cp -rL {folder} NEW_FOLDER."
            )


def _check(pattern: re.Pattern[str], text: str, what: str) -> str:
    if len(text) > MAX_CHARS or not pattern.fullmatch(text):
        raise PullError(
            f"{text[:80]!r} is not {what}: up to {MAX_CHARS} letters, digits, '.', '_' and '-' are allowed, "
            "the first a letter or digit, no '..'."
        )
    return text
