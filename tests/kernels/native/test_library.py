"""Which native library is opened, and that none is a normal state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.kernels.native import build, library
from freehold.kernels.native.build import LEVELS, Level, library_path
from freehold.kernels.native.library import native
from tests.support.native import PYTORCH, use


def test_the_best_level_is_taken(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = native()
    assert found is not None
    assert found.level == level
    use("", monkeypatch)
    best = native()
    assert best is not None
    names = [candidate.name for candidate in LEVELS]
    assert names.index(best.level) <= names.index(level)


def test_none_is_taken_where_none_is_wanted_or_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(PYTORCH, monkeypatch)
    assert native() is None
    use("", monkeypatch)
    monkeypatch.setattr(library, "library_path", lambda name: tmp_path / name)
    assert native() is None
    native.cache_clear()


def test_a_processor_that_lacks_instructions_gets_a_lower_level(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use("", monkeypatch)
    lower = LEVELS[[candidate.name for candidate in LEVELS].index(level)]
    monkeypatch.setattr(library, "_processor_flags", lambda: frozenset(lower.needs))
    found = native()
    assert found is not None
    assert found.level == level
    native.cache_clear()
    monkeypatch.setattr(library, "_processor_flags", frozenset)
    assert native() is None
    native.cache_clear()


def test_a_library_of_other_sources_is_left_alone(
    level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / f"libfreehold_{level}.so"
    old.write_bytes(library_path(level).read_bytes().replace(build.digest().encode(), b"0" * 64))
    use(level, monkeypatch)
    monkeypatch.setattr(library, "library_path", lambda _: old)
    assert native() is None
    assert "made from other sources" in caplog.text
    native.cache_clear()


def test_no_second_pool_of_threads_is_opened(level: str) -> None:
    """The libraries link no OpenMP of their own; they are handed torch's."""
    linked = subprocess.run(["readelf", "-d", str(library_path(level))], check=True, capture_output=True, text=True)
    assert "omp" not in linked.stdout


@pytest.mark.skipif(build.compiler() is None, reason="needs a C++ compiler: apt install g++")
def test_what_does_not_compile_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "library_path", lambda name: tmp_path / f"{name}.so")
    good, bad = Level("good", (), ()), Level("bad", ("-march=no-such-processor",), ())
    monkeypatch.setattr(build, "LEVELS", (bad, good))
    assert build.build() == [tmp_path / "good.so"]
    assert "cannot compile for bad; it is left out" in capsys.readouterr().err
    made = (tmp_path / "good.so").stat().st_mtime_ns
    assert build.build() == [tmp_path / "good.so"]
    assert (tmp_path / "good.so").stat().st_mtime_ns == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.so"]


def test_without_a_compiler_nothing_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "library_path", lambda name: tmp_path / f"{name}.so")
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert build.build() == []


def test_the_build_needs_the_standard_library_alone() -> None:
    script = "import sys; sys.path.insert(0, sys.argv[1]); import build; print('torch' in sys.modules)"
    folder = str(Path(build.__file__).parent)
    run = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script, folder],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert run.stdout.strip() == "False"
