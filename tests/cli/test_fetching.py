"""Finding a verb's model: what is here is taken without a word, what is not is fetched with its progress shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.cli.fetching import fetch, progress_bars
from freehold.errors import ModelNotFoundError
from freehold.hub import pull
from freehold.hub.catalog import DEFAULT_MODEL
from freehold.hub.progress import Progress
from tests.support.tiny_models import tiny_folder

pytestmark = pytest.mark.usefixtures("empty_home")


def test_a_folder_is_taken_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder("llama", tmp_path / "mine")
    assert fetch(str(folder)) == folder
    assert capsys.readouterr().err == ""


def test_what_is_not_here_is_fetched_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(name: str, progress: Progress) -> Path:
        progress("asking", 0, None)
        for done in (10, 60, 100):
            progress("weights\x1b[31m.bin", done, 100)
        return tmp_path / name

    monkeypatch.setattr(pull, "ensure", ensure)
    assert fetch(None) == tmp_path / DEFAULT_MODEL
    told = capsys.readouterr().err.splitlines()
    assert told == [f"Fetching {DEFAULT_MODEL}; this happens once.", "asking", "weights.bin"]


def test_what_nobody_knows_is_an_error() -> None:
    with pytest.raises(ModelNotFoundError):
        fetch("no-such-model")


def test_a_bar_may_have_no_total(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as progress:
        progress("unknown", 5, None)
        progress("unknown", 9, None)
    assert capsys.readouterr().err == "unknown\n"
