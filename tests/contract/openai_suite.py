"""Runs openai-python's own tests of chat completions, completions and models against our server.

    python -m tests.contract.openai_suite [--folder SCRATCH] [--model FOLDER]

Its source package (of the version that is installed here) and what its tests import are fetched with pip into a scratch
folder, which is removed afterwards unless it was named. Left out, by name and counted: the cases that send every
parameter at once, because they send invalid values (`max_tokens: 0`, `logit_bias: {"foo": 0}`), and those that
fetch, list, change or delete stored completions or delete models, which are not offered. All others have to pass.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SuiteResult", "main", "run_suite"]

FILES = ("chat/test_completions.py", "test_completions.py", "test_models.py")
_STORED = "stored objects are not offered"
LEFT_OUT = (
    (re.compile(r"all_params"), "sends every parameter at once, some of them invalid"),
    (re.compile(r"chat/.*::test_\w+_(retrieve|update|list|delete)\["), _STORED),
    (re.compile(r"test_models.*::test_\w+_delete\["), _STORED),
)
"""Which tests are left out, by their ids, and why. `test_path_params_*` never reach a server and are run."""

ALWAYS_RUN = re.compile(r"test_path_params_")


@dataclass(frozen=True)
class SuiteResult:
    """What came of a run."""

    passed: int
    left_out: Counter[str]
    returncode: int
    output: str

    def __str__(self) -> str:
        lines = [f"openai-python {importlib.metadata.version('openai')}: {self.passed} passed"]
        lines += [f"  {count} left out: {why}" for why, count in sorted(self.left_out.items())]
        return "\n".join(lines)


def run_suite(folder: Path, model_folder: Path) -> SuiteResult:
    """Fetches the suite into `folder` and runs it against a server that serves `model_folder`.

    Raises:
        subprocess.CalledProcessError: The suite cannot be fetched.
    """
    source = _fetch(folder)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "packages"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    tests = [f"tests/api_resources/{name}" for name in FILES]
    base = [sys.executable, "-m", "pytest", "-p", "pytest_asyncio.plugin", "-c", str(_pytest_config(folder))]
    base += ["--rootdir", str(source), "-q"]
    collected = subprocess.run(
        [*base, "--collect-only", *tests], cwd=source, env=environment, capture_output=True, text=True, check=True
    )
    chosen: list[str] = []
    left_out: Counter[str] = Counter()
    for test in re.findall(r"^tests/\S+::\S+$", collected.stdout, re.MULTILINE):
        reason = next((why for pattern, why in LEFT_OUT if pattern.search(test)), None)
        if reason is None or ALWAYS_RUN.search(test):
            chosen.append(test)
        else:
            left_out[reason] += 1
    with _server(folder, model_folder, _model_names(source)) as url:
        ran = subprocess.run(
            [*base, "-rs", *chosen],
            cwd=source,
            env={**environment, "TEST_API_BASE_URL": f"{url}/v1"},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"(\d+) passed", ran.stdout)
    passed = int(found[1]) if found else 0
    complete = passed == len(chosen) > 0
    return SuiteResult(passed, left_out, ran.returncode or (0 if complete else 1), ran.stdout + ran.stderr)


def _fetch(folder: Path) -> Path:
    version = importlib.metadata.version("openai")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / f"openai-{version}"
    if not source.is_dir():
        subprocess.run(
            [*pip, "download", "--no-binary", "openai", "--no-deps", "--dest", str(folder), f"openai=={version}"],
            check=True,
        )
        with tarfile.open(folder / f"openai-{version}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    packages = folder / "packages"
    if not packages.is_dir():
        wanted = [f"openai[aiohttp]=={version}", "pytest>=9,<10", "pytest-asyncio>=1.4,<2", "rich>=13.7"]
        subprocess.run([*pip, "install", "--target", str(packages), *wanted], check=True)
    return source


def _pytest_config(folder: Path) -> Path:
    config = folder / "pytest.ini"
    config.write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = session\n")
    return config


def _model_names(source: Path) -> set[str]:
    text = "".join((source / "tests" / "api_resources" / name).read_text() for name in FILES)
    return {first or second for first, second in re.findall(r'model="([^"]+)"|models\S*\.retrieve\(\s*"([^"]+)"', text)}


@contextlib.contextmanager
def _server(folder: Path, model_folder: Path, aliases: set[str]) -> Iterator[str]:
    from freehold.engine.language_model import LanguageModel
    from tests.support.live_server import live_server

    with LanguageModel.from_folder(model_folder, dtype="bfloat16") as model:
        names = dict.fromkeys(aliases - {model.name}, model.name)
        with live_server([model], folder, aliases=names) as server:
            yield server.url


def main() -> int:
    """Runs the suite from a command line; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep what is fetched here, and use what is here already")
    parser.add_argument("--model", type=Path, help="a model folder; a tiny random one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        model = options.model
        if model is None:
            from tests.support.tiny_models import tiny_folder

            model = tiny_folder("llama", folder / "tiny-llama")
        result = run_suite(folder, model)
    sys.stdout.write(f"{result.output if result.returncode else ''}{result}\n")
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
