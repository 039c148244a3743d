"""`freehold models` and `freehold pull`: what is here, what can be had, and how it is told when something cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.cli import main
from freehold.hub.home import models_folder
from tests.support.hub_server import HubServer
from tests.support.tiny_models import tiny_folder

pytestmark = pytest.mark.usefixtures("empty_home")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.call(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def row(table: str, name: str) -> list[str]:
    return next(line.split() for line in table.splitlines() if line.split()[:1] == [name])


def test_known_models_are_listed_with_size_context_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "models")
    assert code == 0
    assert row(out, "deepseek-r1")[1:5] == ["~689", "GB", "131,072", "MIT"]
    assert row(out, "smollm2-135m-instruct")[1:5] == ["~0.27", "GB", "8,192", "Apache-2.0"]
    assert "The default is smollm2-135m-instruct" in out


def test_a_model_is_pulled_listed_and_removed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder("qwen2", tmp_path / "tiny")
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("org/Tiny", {path.name: path.read_bytes() for path in folder.iterdir()}, license="mit")
        code, out, err = call(capsys, "pull", "hf:org/Tiny")
    assert (code, out) == (0, f"hf:org/Tiny is ready: {models_folder() / 'org--tiny'}\n")
    assert "model.safetensors" in err
    assert call(capsys, "pull", "org--tiny")[1] == f"org--tiny is here: {models_folder() / 'org--tiny'}\n"
    assert row(call(capsys, "models")[1], "org--tiny")[1:] == ["yes", "0.00", "GB", "512", "mit", "hf:org/Tiny"]
    assert call(capsys, "models", "remove", "org--tiny") == (0, "org--tiny is removed.\n", "")
    assert "org--tiny" not in call(capsys, "models")[1]


def test_a_folder_that_the_user_put_there_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    tiny_folder("llama", models_folder() / "mine")
    listed = row(call(capsys, "models")[1], "mine")
    assert listed[1:6] == ["yes", "0.00", "GB", "512", "not"]


def test_a_folder_of_ones_own_is_only_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path / "mine")
    assert call(capsys, "pull", str(folder)) == (0, f"{folder} is here: {folder}\n", "")
    assert not models_folder().exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", "nonesuch"], "No model 'nonesuch' is known"),
        (["pull", "../../x"], "There is no model folder or GGUF file at '../../x'"),
        (["pull", "sha256:../../x"], "There is no model folder"),
        (["pull", "hf:bad"], "'hf:bad' is not a repository of the hub: write hf:org/repo"),
        (["pull", "absent.gguf"], "check the path, or take a model by its name: `freehold models` lists them"),
        (["pull", "%2e%2e"], "is not a model's name"),
        (["pull", "a\x1b]52;c;x\x07"], "is not a model"),
        (["models", "remove", "../x"], "is not a model's name"),
        (["models", "remove", "nonesuch"], "There is no model 'nonesuch'"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1
    assert "\x1b" not in err
