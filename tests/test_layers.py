"""The rules that hold over the whole source: who imports whom, what is never used, what never leaves this machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "freehold"
# Sources of models and of PyTorch that a user reaches through a name; each stands in one file.
NAMED_HOSTS = {"download.pytorch.org": "tools/installer/torch_wheel.py"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]


def sources() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_import_rules_hold() -> None:
    done = run("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_has_its_layer() -> None:
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = set(contracts[0]["layers"])
    found = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" and path.stem != "__init__"}
    found |= {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert found == layers


def test_ruff_is_clean() -> None:
    done = run("-m", "ruff", "check", ".")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_mypy_strict_is_clean() -> None:
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_type_checker_sees_what_load_gives(tmp_path: Path) -> None:
    script = tmp_path / "user.py"
    script.write_text(
        "import freehold\n\nwith freehold.load('m') as model:\n    reveal_type(model.chat('Hello').text)\n"
    )
    done = run("-m", "mypy", "--strict", str(script))
    assert 'Revealed type is "str"' in done.stdout.replace("builtins.", ""), done.stdout


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "litellm", "sentry_sdk", "posthog"}
FORBIDDEN_CALLS = {("torch", "load"), ("torch", "save")}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_source_unpickles_reports_home_or_runs_foreign_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    used = {name.split(".")[0] for name in imports(tree)} & FORBIDDEN_IMPORTS
    assert not used, f"imports {used}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in FORBIDDEN_CALLS, f"line {node.lineno}: torch.{node.attr}"
        if isinstance(node, ast.keyword):
            assert node.arg != "trust_remote_code", f"line {node.value.lineno}: trust_remote_code"
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            assert name not in {"eval", "exec"} or _is_method(node), f"line {node.lineno}: {name}"
    # A rule may be set aside where that is needed, by its name and for one line; ruff and mypy report idle ones.
    assert not re.search(r"# (type: ignore(?!\[)|noqa(?!: [A-Z]))", text), "a rule is set aside without its name"


def _is_method(node: ast.AST) -> bool:
    # `model.eval()` is PyTorch's switch to inference, not Python's evaluation of text.
    return isinstance(node, ast.Attribute)


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_what_it_is_and_what_is_public(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    if path.name in {"__init__.py", "__main__.py"} or "versions" in path.parts or path.name == "env.py":
        return
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert "__all__" in assigned, "no __all__"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


# Spelled in parts, so that this file does not name them itself.
REGISTRIES = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "yarn" + "pkg.com"]
MACHINE = ["/wo" + "rk/", "/tmp/" + "scratch", "/opt/" + "wheels", "/opt/" + "pypi", "/ro" + "ot/"]


def test_no_committed_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in committed()
        for word in (*REGISTRIES, *MACHINE)
        if word in _text_of(path)
    ]
    assert not found, "\n".join(found)


def test_hosts_stand_only_where_they_belong() -> None:
    for host, home in NAMED_HOSTS.items():
        users = [path.relative_to(ROOT).as_posix() for path in committed() if host in _text_of(path)]
        assert [user for user in users if user not in {home, "tests/test_layers.py"}] == []


@pytest.mark.parametrize(
    "statement",
    [
        "import freehold",
        "import freehold.errors, freehold.types, freehold.sandbox",
        "import freehold.text.chat, freehold.text.tokenizer, freehold.text.reasoning, freehold.text.tools",
        "import freehold.model.config",
        "import freehold.hub.catalog, freehold.hub.home",
        "import freehold.engine.request",
        "from freehold.cli.main import call; call(['--help'])",
        "from freehold.cli import chat, keys, models, pull, run, serve",
    ],
)
def test_torch_stays_away_until_it_is_needed(statement: str) -> None:
    check = "heavy = {'torch', 'transformers', 'fastapi', 'sqlalchemy'} & set(sys.modules); assert not heavy, heavy"
    done = run("-c", f"import sys\n{statement}\n{check}")
    assert done.returncode == 0, done.stderr


def test_nothing_unexpected_runs_when_python_starts() -> None:
    """A stolen package's favourite hiding place is a `.pth` file, whose `import` lines run in every process."""
    expected = re.compile(r"_?_?(editable__.*|_?freehold.*|distutils-precedence|coverage.*|a1_coverage)\.pth")
    site = Path(sysconfig.get_path("purelib"))
    unexpected = [
        path.name
        for path in site.glob("*.pth")
        if not expected.fullmatch(path.name)
        and any(line.startswith(("import ", "import\t")) for line in path.read_text(encoding="utf-8").splitlines())
    ]
    assert unexpected == []
