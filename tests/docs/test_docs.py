"""The documents: current, whole, and true to what they link to."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from freehold.cli import reference
from tests.conftest import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = prose(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(file), f"{target}: no such heading"


def test_the_command_lines_page_is_what_the_commands_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference.render(), "run `make docs`"


def test_every_document_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme


def stated(path: Path) -> int:
    """How many departures a source states at its top."""
    lines = iter((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines())
    if not any(line.startswith("Departures") for line in lines):
        return 0
    return sum(bool(re.match(r"\d+\. ", line)) for line in lines)


def test_every_departure_that_a_source_states_stands_in_the_list() -> None:
    listed = re.split(r"^\d+\. ", (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    source = ROOT / "src" / "freehold"
    in_sources = {path.relative_to(source).as_posix(): stated(path) for path in source.rglob("*.py")}
    assert sum(in_sources.values()) > 0
    for path, number in in_sources.items():
        assert sum(f"`{path}`" in item for item in listed) >= number, f"{path} states {number} departures"


def test_departures_are_numbered_without_a_gap_and_name_files_that_exist() -> None:
    listed = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", listed, flags=re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    for path in re.findall(r"`(\w+/\w+\.py)`", listed):
        assert (ROOT / "src" / "freehold" / path).exists(), path


def test_the_overview_is_one_page_and_names_what_exists() -> None:
    text = (ROOT / "docs" / "overview.md").read_text(encoding="utf-8")
    assert len(text.split()) < 1000
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert (ROOT / "src" / "freehold" / path).exists() or (ROOT / path).exists(), path


def test_the_version_is_one() -> None:
    import tomllib

    import freehold

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == freehold.__version__
    assert f"## {freehold.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
