"""A pull looks finished only once it is: not while it runs, not after a kill at any moment, not for two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from freehold.errors import ConfigError, ModelNotFoundError, PullError
from freehold.hub.home import models_folder
from freehold.hub.local import installed, remove
from freehold.hub.manifest import MANIFEST, read_manifest
from freehold.hub.progress import quiet
from freehold.hub.pull import resolve
from freehold.hub.staging import PARTIAL_PREFIX, Stage, check_space, locked, staged

pytestmark = pytest.mark.usefixtures("empty_home")


def finish(stage: Stage) -> Path:
    return stage.finish(
        source="hf:a/b",
        revision="r",
        licence=None,
        architecture="LlamaForCausalLM",
        chat_format=None,
        context_length=1,
        checked={},
        progress=quiet,
    )


def write_model(stage: Stage) -> None:
    (stage.folder / "config.json").write_text("{}")
    (stage.folder / "model.safetensors").write_bytes(b"weights")


def pull_whole() -> Path:
    with staged("m", "key") as stage:
        write_model(stage)
        return finish(stage)


def break_off(key: str | None, error: type[BaseException]) -> None:
    with staged("m", key) as stage:
        write_model(stage)
        raise error


def fail(*_: object) -> None:
    raise OSError("the power is gone")


def test_a_finished_folder_has_its_name_and_nothing_else() -> None:
    with staged("m", "key") as stage:
        write_model(stage)
        (stage.folder / ".left.part").write_text("")
        assert installed() == []
        folder = finish(stage)
    assert folder == models_folder() / "m"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", MANIFEST, "model.safetensors"]
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.size_bytes == 9
    assert [model.name for model in installed()] == ["m"]


@pytest.mark.parametrize(("key", "kept"), [("key", True), ("other", False), (None, False)])
def test_an_unfinished_folder_is_kept_for_the_same_source_only(key: str | None, kept: bool) -> None:
    with pytest.raises(RuntimeError):
        break_off("key", RuntimeError)
    assert resolve("m") is None
    with staged("m", key) as stage:
        assert (stage.folder / "config.json").exists() is kept


def test_what_cannot_be_resumed_is_not_kept() -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(None, KeyboardInterrupt)
    assert list(models_folder().iterdir()) == []


def test_a_crash_while_finishing_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it dies before, during or after freehold.json is written: it is unfinished until the rename."""
    for crash in ("write_manifest", "sync"):
        with monkeypatch.context() as patch:
            patch.setattr(f"freehold.hub.staging.{crash}", fail)
            with pytest.raises(OSError, match="the power is gone"):
                pull_whole()
        if crash == "write_manifest":
            assert installed() == []
            assert (models_folder() / f"{PARTIAL_PREFIX}m" / "config.json").exists()
        else:
            assert [model.name for model in installed()] == ["m"], "after the rename it is whole"


def test_a_folder_that_is_there_is_not_overwritten() -> None:
    (models_folder() / "m").mkdir(parents=True)
    with pytest.raises(PullError, match="is already there; remove it first"), staged("m", None):
        pass
    remove("m")
    assert not (models_folder() / "m").exists()
    with pytest.raises(ModelNotFoundError, match="There is no model 'm'"):
        remove("m")


HOLD = """
import sys, time
from freehold.hub.progress import quiet
from freehold.hub.staging import locked, staged
with locked("m", quiet), staged("m", "key") as stage:
    (stage.folder / "config.json").write_text("{}")
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder() -> subprocess.Popen[str]:
    """Another process in the middle of a pull of `m`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=os.environ.copy())
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_pull_leaves_nothing_that_looks_finished_and_no_lock(
    holder: subprocess.Popen[str], how: signal.Signals
) -> None:
    assert installed() == []
    holder.send_signal(how)
    holder.wait(timeout=10)
    assert resolve("m") is None
    started = time.monotonic()
    with locked("m", quiet), staged("m", "key") as stage:
        assert time.monotonic() - started < 5
        assert (stage.folder / "config.json").exists(), "what it had is gone on with"


def test_a_second_pull_waits_for_the_first(holder: subprocess.Popen[str]) -> None:
    told: list[str] = []

    def tell(step: str, *_: object) -> None:
        told.append(step)
        holder.kill()

    with locked("m", tell):
        assert told == ["waiting for another pull of m"]
    with locked("other", tell):
        assert len(told) == 1


def test_too_little_space_is_told_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3_000_000_000})())
    check_space(2_700_000_000, "m")
    with pytest.raises(PullError, match=r"m needs 2\.90 GB and a reserve of 0\.2 GB; .* has 3\.00 GB free\. Make room"):
        check_space(2_900_000_000, "m")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "[" * 1000, '{"files": {}, "name": 3}'])
def test_a_damaged_manifest_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match=r"freehold\.json is malformed .* pull the model again"):
        read_manifest(tmp_path)


def test_a_folder_that_the_user_put_there_is_listed() -> None:
    folder = models_folder() / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    [model] = installed()
    assert (model.name, model.manifest, model.size_bytes) == ("mine", None, 2)
    assert resolve("mine") == folder
