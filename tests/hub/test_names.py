"""Names, references and folders: nothing leads out of where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.errors import ConfigError, ModelNotFoundError, PullError, WeightsError
from freehold.hub.home import home, models_folder
from freehold.hub.names import check_file_name, check_name, check_repository, check_revision, slug
from freehold.hub.pull import ensure, pull, remove, resolve
from freehold.hub.references import GgufReference, HubReference, NamedReference, parse_reference
from freehold.hub.validate import check_folder
from tests.support.tiny_models import tiny_folder

ESCAPES = [
    "",
    ".",
    "..",
    "../x",
    "..\\x",
    "a/../../x",
    "/etc/passwd",
    "~/x",
    "%2e%2e",
    "%2e%2e%2fx",
    "sha256:../../x",
    "sha256-../../x",
    "a..b",
    "a\0b",
    "a\nb",
    "a b",
    "-rf",
    ".hidden",
    "name\u202e",
    "nаme",  # with a Cyrillic letter
    "x" * 129,
]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("check", [check_name, check_file_name])
def test_an_escape_is_no_name(check: object, name: str) -> None:
    with pytest.raises(PullError, match="is not a"):
        check(name)


@pytest.mark.parametrize("name", [name for name in ESCAPES if "/" not in name])
def test_an_escape_is_no_part_of_a_repository(name: str) -> None:
    for repository in (f"org/{name}", f"{name}/repo", name):
        with pytest.raises(PullError):
            check_repository(repository)


def test_plain_names_pass() -> None:
    for name in (
        "smollm2-135m-instruct",
        "DeepSeek-R1-Distill-Qwen-1.5B",
        "a",
        "model-00001-of-00163.safetensors",
        "x_1",
    ):
        assert check_name(name) == check_file_name(name) == name
    assert check_repository("deepseek-ai/DeepSeek-V3.1") == "deepseek-ai/DeepSeek-V3.1"
    for repository in ("org/a--b", "org/" + "x" * 95):
        with pytest.raises(PullError, match="at most 96 characters and no '--'"):
            check_repository(repository)
    for revision in ("main", "v1.0", "refs/pr/1", "a" * 40):
        assert check_revision(revision) == revision
    for revision in ("../main", "a..b", "/main", "a b", "", "a%2f"):
        with pytest.raises(PullError):
            check_revision(revision)


def test_any_text_becomes_a_name() -> None:
    assert slug("My Model (Q4_1)") == "my-model-q4_1-"
    assert slug("../../etc") == "etc"
    assert slug("日本語") == slug("...") == "model"
    assert len(slug("x" * 500)) == 128


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize("function", [ensure, pull, resolve])
@pytest.mark.parametrize(
    "text", [*ESCAPES, "hf:../x", "hf:a/..", "hf:org", "hf:a/b/c", "hf:a/b@../c", "hf:a/b@", "HF:a/b"]
)
def test_a_reference_that_escapes_is_refused(
    function: object, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text in (".", ".."):
        message = "has no config.json"
    else:
        message = "is not (a|the)|There is no model folder|is no model that is read"
    with pytest.raises((PullError, ModelNotFoundError), match=message):
        function(text)
    assert not list((tmp_path / "home").rglob("*/"))


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_is_removed_by_an_escape(name: str, tmp_path: Path) -> None:
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    with pytest.raises(PullError, match="is not a model's name"):
        remove(name)
    assert (tmp_path / "x").is_dir()


def test_what_references_mean(tmp_path: Path) -> None:
    assert parse_reference("deepseek-r1") == NamedReference("deepseek-r1")
    assert parse_reference("hf:org/Repo@v1.0") == HubReference("org/Repo", "v1.0")
    assert HubReference("org/Repo", None).name == "org--repo"
    assert HubReference("org/Repo", "refs/pr/1").name == "org--repo--refs-pr-1"
    file = tmp_path / "Tiny.gguf"
    file.write_bytes(b"GGUF")
    assert parse_reference(str(file)) == parse_reference(file) == GgufReference(file)


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickles_are_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(PullError, match=r"Pickles .* refused because .* runs code: convert them"):
        ensure(tmp_path / name)


def test_a_likely_hub_name_and_a_likely_folder_are_pointed_out(
    empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del empty_home
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"write hf:deepseek-ai/DeepSeek-R1"):
        ensure("deepseek-ai/DeepSeek-R1")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"write \./mine.*By name there are .*deepseek-r1"):
        ensure("mine")


@pytest.mark.parametrize("path", ["/nonexistent", "./nonexistent", "~/nonexistent", "nonexistent.gguf", "a/b.gguf"])
def test_a_path_is_not_taken_for_a_repository(path: str) -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"There is no .* at '.*nonexistent|b\.gguf'.*check the path"
    ) as caught:
        ensure(path)
    assert "hf:" not in str(caught.value)


def test_a_folder_without_a_model_names_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json; give the folder that holds .* `freehold models`"):
        ensure(tmp_path)
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match=r"no config\.json; give the GGUF file itself, as in .*/tiny\.gguf"):
        ensure(tmp_path)


@pytest.mark.parametrize("text", ["hf:bad", "hf:/repo", "hf:org/", "hf:a/b/c"])
def test_a_malformed_repository_is_named_as_it_was_written(text: str) -> None:
    with pytest.raises(PullError, match=rf"^'{text}' is not a repository of the hub: write hf:org/repo"):
        parse_reference(text)


def test_a_folder_of_ones_own_is_checked_and_used_where_it_is(tmp_path: Path) -> None:
    folder = tiny_folder("qwen3", tmp_path / "mine")
    assert ensure(folder) == pull(str(folder)) == resolve(folder) == folder


def test_a_link_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path / "mine")
    weights = (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(weights)
    with pytest.raises(WeightsError, match=r"symbolic link to .*elsewhere.* cp -rL"):
        ensure(folder)
    (folder / "model.safetensors").unlink()
    weights.rename(folder / "real.safetensors")
    (folder / "model.safetensors").symlink_to("real.safetensors")
    assert check_folder(folder)
    (folder / "secret.json").symlink_to("/etc/passwd")
    with pytest.raises(WeightsError, match=r"symbolic link to /etc/passwd"):
        ensure(folder)


def test_a_models_own_code_is_never_run(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path / "mine")
    mark = tmp_path / "ran"
    (folder / "modeling_mine.py").write_text(f"open({str(mark)!r}, 'w').close()")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"auto_map": {"AutoModel": "modeling_mine.M"},', 1))
    assert ensure(folder) == folder
    assert not mark.exists()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            r"only as pickles \(pytorch_model\.bin\), which are refused",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100), "is damaged"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"model.none": "model.safetensors"}}'
            ),
            r"1 tensors of .* are not where it says, model\.none among them",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "b.safetensors"}}'
            ),
            r"b\.safetensors is missing; the model is incomplete",
        ),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}'),
            "is malformed",
        ),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("[" * 100_000), "is malformed"),
    ],
)
def test_a_folder_that_is_no_model_is_named(break_it: object, message: str, tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path / "mine")
    break_it(folder)
    with pytest.raises((ConfigError, ModelNotFoundError, WeightsError), match=message):
        ensure(folder)


def test_where_the_data_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FREEHOLD_HOME", str(tmp_path / "own"))
    assert home() == tmp_path / "own"
    assert models_folder() == tmp_path / "own" / "models"
    monkeypatch.setenv("FREEHOLD_HOME", "relative/folder")
    with pytest.raises(ConfigError, match="'relative/folder', a relative path"):
        home()
    monkeypatch.delenv("FREEHOLD_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home() == tmp_path / "data" / "freehold"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert home() == tmp_path / ".local" / "share" / "freehold"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert home() == tmp_path / ".local" / "share" / "freehold"
