"""What every test shares: a data home of its own, the default model, and a summary of whatever was not run.

A test that lacks something skips itself with the reason; the reasons stand together at the end of the run. With
FREEHOLD_TESTS_STRICT=1, as CI has it, such a test fails the run, unless it is for a GPU or for users other than root.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import RunningFreehold, running_freehold

ROOT = Path(__file__).resolve().parents[1]
MAY_BE_WANTING = re.compile(r"\b(GPU|CUDA|root)\b")


def _hub_version() -> str:
    """Of the code and catalog that fetch and convert: what another version made is not what this one makes."""
    sources = sorted(path for path in (ROOT / "src/freehold/hub").rglob("*") if path.suffix in {".py", ".toml"})
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


TEST_HOME = Path(os.environ.get("FREEHOLD_TEST_HOME") or ROOT / "build" / "test-home" / _hub_version())

# Before any test module imports torch or tokenizers, and for every process that a test starts.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["FREEHOLD_HOME"] = str(TEST_HOME)
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The clone's folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data sets that lie beside the clone."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data sets of ../shared/data; {folder} is absent")
    return folder


@pytest.fixture(scope="session")
def default_model_folder() -> Path:
    """The real default model, fetched once and kept in build/test-home until the code that fetches it changes."""
    from freehold.errors import PullError
    from freehold.hub.catalog import DEFAULT_MODEL
    from freehold.hub.pull import ensure

    try:
        return ensure(DEFAULT_MODEL)
    except PullError as error:
        pytest.skip(f"needs the default model, which cannot be fetched: {error}")


@pytest.fixture(scope="session")
def running(default_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFreehold]:
    """`freehold run` with the real default model and a fresh database, started once for all tests that need it."""
    home = tmp_path_factory.mktemp("running")
    arguments = ["run", "--no-open", "--port", "0", "--model", str(default_model_folder)]
    with running_freehold(*arguments, home=home) as server:
        yield server


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home with nothing in it, for this test and the processes that it starts."""
    home = tmp_path / "home"
    monkeypatch.setenv("FREEHOLD_HOME", str(home))
    return home


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the browser's tests last: playwright keeps an event loop running to the end, beside which none can run."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return text.removeprefix("Skipped: ")


def _lacking(terminal: pytest.TerminalReporter) -> dict[str, list[str]]:
    lacking: dict[str, list[str]] = {}
    for report in terminal.stats.get("skipped", []):
        lacking.setdefault(_reason(report), []).append(report.nodeid)
    return lacking


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, a test that was skipped for want of something fails the run."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FREEHOLD_TESTS_STRICT") != "1" or terminal is None or session.exitstatus != pytest.ExitCode.OK:
        return
    if any(not MAY_BE_WANTING.search(reason) for reason in _lacking(terminal)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what was not run, and why."""
    lacking = _lacking(terminalreporter)
    if not lacking:
        return
    terminalreporter.section("not run, for want of something")
    for reason, tests in sorted(lacking.items()):
        terminalreporter.write_line(f"{len(tests):4}  {reason}")
    if os.environ.get("FREEHOLD_TESTS_STRICT") == "1":
        terminalreporter.write_line(
            "FREEHOLD_TESTS_STRICT=1: all tests must run, but for those that need a GPU or a user other than root."
        )
