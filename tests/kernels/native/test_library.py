"""Which native library is opened, and that none is a normal state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.errors import ConfigError
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


@pytest.mark.parametrize("wanted", ["1", "AVX2", "avx"])
def test_a_level_that_does_not_exist_is_refused(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(wanted, monkeypatch)
    with pytest.raises(ConfigError, match=rf"FREEHOLD_NATIVE is '{wanted}'; it must be 0 .* amx, avx512, avx2"):
        native()
    native.cache_clear()


def test_a_level_that_is_not_built_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use("avx2", monkeypatch)
    monkeypatch.setattr(library, "library_path", lambda name: tmp_path / name)
    assert native() is None
    assert "FREEHOLD_NATIVE is avx2, which is not built" in caplog.text
    native.cache_clear()


def test_torch_s_own_pool_is_taken_though_another_library_came_later(level: str, tmp_path: Path) -> None:
    """Other wheels bring copies of libgomp; the functions must be those that torch calls."""
    script = """
import ctypes, shutil, sys
from pathlib import Path
import torch
from freehold.kernels.native.library import native
torch.set_num_threads(2)
own = next(Path(torch.__file__).parent.glob("lib/libgomp*"))
copy = Path(sys.argv[1]) / "libgomp-copy.so"
shutil.copy(own, copy)
ctypes.CDLL(str(copy)).omp_get_max_threads()
address = native()._openmp.parallel
lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
for span, *_, path in (line for line in lines if len(line) == 6):
    low, high = (int(end, 16) for end in span.split("-"))
    if low <= address < high:
        print(Path(path).name)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "FREEHOLD_NATIVE": level},
    )
    name = run.stdout.strip()
    assert name.startswith("libgomp")
    assert "copy" not in name


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
