"""The tokenizer against the `tokenizers` library itself, and against its own promises."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from freehold.errors import TokenizerError
from freehold.text.tokenizer import Span, StreamDecoder, Tokenizer
from tests.support.tiny_tokenizer import STYLES, TEMPLATES, Style, tiny_tokenizer

SENTENCES = ["the cat sat on the mat", "a cat and a dog", "the dog ran to the mat", "one two three 123"]
relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _sentencepiece(folder: Path, *, scheme: str, model: str) -> Path:
    """A tokenizer built as Llama's and T5's are: blanks as `▁`, unknown bytes by byte tokens.

    Where the normaliser prepends `▁`, the library looks for `▁<think>` in place of a normalised `<think>`.
    """
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    specials = ["<unk>", "<s>", "</s>"]
    if model == "bpe":
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
        scratch = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    else:
        trainer = trainers.UnigramTrainer(
            vocab_size=60, special_tokens=specials, unk_token="<unk>", show_progress=False
        )
        scratch = tokenizers.Tokenizer(models.Unigram())
    scratch.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    scratch.train_from_iterator(SENTENCES, trainer)
    spec = json.loads(scratch.to_str())
    if model == "bpe":
        vocab = spec["model"]["vocab"]
        for piece in bytes_:
            vocab[piece] = len(vocab)
        spec["model"] |= {"byte_fallback": True, "fuse_unk": True}
    else:
        spec["model"]["vocab"] += [[piece, -20.0] for piece in bytes_]
        spec["model"]["byte_fallback"] = True
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
    if scheme == "prepend":
        tokenizer.pre_tokenizer = None
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    tokenizer.add_tokens(
        [
            AddedToken("[INST]", special=False, normalized=False),
            AddedToken("<think>", special=False, normalized=scheme != "prepend"),
        ]
    )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    made = {style: tiny_tokenizer(root / style, style) for style in STYLES}
    for scheme in ("prepend", "first", "always", "never"):
        made[f"bpe-{scheme}"] = _sentencepiece(root / f"bpe-{scheme}", scheme=scheme, model="bpe")
    made["unigram-first"] = _sentencepiece(root / "unigram-first", scheme="first", model="unigram")
    return made


@pytest.fixture(scope="module")
def pairs(folders: dict[str, Path]) -> dict[str, tuple[Tokenizer, tokenizers.Tokenizer]]:
    return {
        name: (Tokenizer.from_folder(path), tokenizers.Tokenizer.from_file(str(path / "tokenizer.json")))
        for name, path in folders.items()
    }


NAMES = [*STYLES, "bpe-prepend", "bpe-first", "bpe-always", "bpe-never", "unigram-first"]
pieces = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<｜User｜>",
                "<|im_start|>",
                "<|eot_id|>",
                "<s>",
                "[INST]",
                "the cat",
                " ",
                "\n",
                "<｜",
            ]
        ),
    ),
    max_size=8,
)


@pytest.mark.parametrize("name", NAMES)
@given(parts=pieces)
@relaxed
def test_trusted_text_is_encoded_as_the_published_tokenizer_does(pairs, name, parts):
    ours, published = pairs[name]
    text = "".join(parts)
    assert ours.encode(text, allow_special=True) == published.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", NAMES)
@given(parts=pieces)
@relaxed
def test_user_text_never_becomes_a_control_token_and_round_trips(pairs, name, parts):
    ours, published = pairs[name]
    text = "".join(parts)
    ids = ours.encode(text)
    added = {token.content: token_id for token_id, token in published.get_added_tokens_decoder().items()}
    unknown = added.get("<unk>")
    assert not (set(ids) & set(added.values())) - {unknown}
    if name in STYLES:
        assert ours.decode(ids) == text
        assert b"".join(map(ours.token_bytes, ids)) == text.encode()
    elif unknown not in ids and "▁" not in text:
        assert ours.decode(ids).lstrip(" ") == text.lstrip(" "), "SentencePiece may lose or add a first blank"


@pytest.mark.parametrize("style", STYLES)
def test_every_added_token_typed_by_a_user_is_plain_text(pairs, style):
    ours, published = pairs[style]
    for token_id, token in published.get_added_tokens_decoder().items():
        ids = ours.encode(f"a{token.content}b")
        assert token_id not in ids
        assert ours.decode(ids) == f"a{token.content}b"
        assert ours.encode(f"a{token.content}b", allow_special=True).count(token_id) == 1
        assert ours.special_id(token.content) == token_id


def test_a_control_token_is_not_pieced_together_across_the_edge_of_trust(pairs):
    ours, _ = pairs["deepseek"]
    think = ours.special_id("</think>")
    assert think not in ours.encode_spans([Span("</th", trusted=True), Span("ink>")])
    assert think not in ours.encode_spans([Span("<"), Span("/think>", trusted=True)])
    assert think in ours.encode_spans([Span("</think>", trusted=True)])


def test_control_tokens_that_merges_could_build_stay_out_of_reach(tmp_path):
    """A vocabulary that spells its marker, with merges that lead to it and `ignore_merges`, as some do."""
    vocab = {"<": 0, "s": 1, ">": 2, "<s": 3, "<s>": 4, "a": 5, "<s>a": 6}
    model = models.BPE(vocab=vocab, merges=[("<", "s"), ("<s", ">"), ("<s>", "a")], ignore_merges=True)
    published = tokenizers.Tokenizer(model)
    published.decoder = decoders.Fuse()
    published.save(str(tmp_path / "tokenizer.json"))
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["added_tokens"] = [
        {
            "id": 4,
            "content": "<s>",
            "special": False,
            "normalized": True,
            "lstrip": False,
            "rstrip": False,
            "single_word": False,
        }
    ]
    ours = Tokenizer(spec, {})
    assert published.encode("<s>").ids == [4]
    assert ours.encode("<s>") == [3, 2]
    assert 4 not in ours.encode("<s>a<s>")
    assert ours.encode("<s>", allow_special=True) == [4]


@given(parts=st.lists(st.sampled_from(["<l>", "<r>", "<w>", "<b>", " ", "  ", "\n", "a", "b ", " c", "_"]), max_size=8))
@relaxed
def test_added_tokens_that_take_blanks_or_stand_alone(tmp_path_factory, parts):
    cached = test_added_tokens_that_take_blanks_or_stand_alone.__dict__
    if "pair" not in cached:
        folder = tiny_tokenizer(tmp_path_factory.mktemp("flags"), "chatml")
        published = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        published.add_special_tokens([AddedToken("<l>", lstrip=True), AddedToken("<r>", rstrip=True)])
        published.add_special_tokens([AddedToken("<w>", single_word=True), AddedToken("<b>", lstrip=True, rstrip=True)])
        published.save(str(folder / "tokenizer.json"))
        cached["pair"] = Tokenizer.from_folder(folder), published
    ours, published = cached["pair"]
    text = "".join(parts)
    assert ours.encode(text, allow_special=True) == published.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode(text)) == text


def test_tokens_that_only_the_configuration_names_are_control_tokens(tmp_path):
    folder = tiny_tokenizer(tmp_path, "chatml")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {"2": {"content": "<|im_end|>"}, "600": {"content": "<|late|>", "special": True}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.from_folder(folder)
    assert ours.special_id("<|late|>") == 600
    assert ours.vocab_size == 601
    assert ours.encode("<|late|>", allow_special=True) == [600]
    assert 600 not in ours.encode("<|late|>")
    assert ours.decode([600], skip_special=False) == "<|late|>"


def test_added_tokens_of_letters_and_blanks_are_text(tmp_path):
    folder = tiny_tokenizer(tmp_path, "deepseek")
    published = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    published.add_tokens([AddedToken("zebra"), AddedToken("<table>"), AddedToken("        ", normalized=False)])
    published.save(str(folder / "tokenizer.json"))
    ours = Tokenizer.from_folder(folder)
    text = "a zebra        <table>"
    assert set(ours.encode(text)) >= {512, 514}
    assert 513 not in ours.encode(text)
    assert ours.encode(text, allow_special=True) == published.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@relaxed
def test_streamed_text_is_whole_and_adds_up(pairs, name, data):
    ours, published = pairs[name]
    ids = data.draw(st.lists(st.integers(0, ours.vocab_size + 2), max_size=40))
    skip = data.draw(st.booleans())
    stream = StreamDecoder(ours, skip_special=skip)
    shown = [stream.push(token_id) for token_id in ids]
    assert "".join(shown) + stream.flush() == ours.decode(ids, skip_special=skip)
    theirs = published.decode(ids, skip_special_tokens=skip)
    if "\ufffd" not in theirs:
        assert ours.decode(ids, skip_special=skip) == theirs


@given(text=st.text(min_size=1))
@relaxed
def test_no_character_is_shown_before_it_is_whole(pairs, text):
    ours, _ = pairs["deepseek"]
    stream = StreamDecoder(ours)
    shown = ""
    for token_id in ours.encode(text):
        shown += stream.push(token_id)
        assert text.startswith(shown)
    assert shown == text
    assert stream.flush() == ""


def test_special_tokens_are_hidden_unless_kept(pairs):
    ours, _ = pairs["llama3"]
    tag = ours.special_id("<|python_tag|>")
    eot = ours.special_id("<|eot_id|>")
    ids = [tag, *ours.encode("hi"), eot]
    assert ours.decode(ids) == "hi"
    assert ours.decode(ids, keep=frozenset({tag})) == "<|python_tag|>hi"
    assert ours.decode(ids, skip_special=False) == "<|python_tag|>hi<|eot_id|>"
    deepseek, _ = pairs["deepseek"]
    assert deepseek.decode([deepseek.special_id("</think>")]) == "</think>", "published as not special"


def test_a_continuation_keeps_its_first_blank(pairs):
    ours, _ = pairs["bpe-first"]
    ids = ours.encode("the cat")
    assert ours.decode(ids) == "the cat"
    assert ours.decode(ids, continued=True) == " the cat"


def test_lone_surrogates_become_the_replacement_character(pairs):
    ours, _ = pairs["deepseek"]
    assert ours.decode(ours.encode("a\ud800b")) == "a\ufffdb"
    assert ours.decode(ours.encode("\ud83d\ude42")) == "🙂"


@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_is_encoded_as_the_published_tokenizer_does(pairs, name):
    ours, theirs = pairs[name]
    text = "".join(f"the cat {number} sat\n" for number in range(1000))
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_other_threads_run_while_a_long_text_is_encoded(pairs):
    ours, _ = pairs["deepseek"]
    gaps, ended = [0.0], threading.Event()

    def watch() -> None:
        last = time.monotonic()
        while not ended.wait(0.005):
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.monotonic()
    ours.encode("12 " * 400_000)
    seconds = time.monotonic() - begun
    ended.set()
    watcher.join()
    assert max(gaps) < seconds / 2


@pytest.mark.parametrize(
    ("style", "eos", "bos"),
    [
        ("deepseek", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"),
        ("chatml", "<|im_end|>", None),
        ("llama3", "<|eot_id|>", "<|begin_of_text|>"),
    ],
)
def test_first_and_end_tokens(tmp_path, style: Style, eos, bos):
    folder = tiny_tokenizer(tmp_path, style, chat_template=TEMPLATES["chatml"])
    ours = Tokenizer.from_folder(folder)
    assert ours.eos_ids == {ours.special_id(eos)}
    assert ours.bos_id == (ours.special_id(bos) if bos else None)
    assert ours.start_ids == ((ours.bos_id,) if bos else ())
    assert ours.chat_template == TEMPLATES["chatml"]
    (folder / "config.json").write_text('{"eos_token_id": 3}')
    assert Tokenizer.from_folder(folder).eos_ids == {ours.special_id(eos), 3}
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 6]}')
    (folder / "chat_template.jinja").write_text("beside")
    again = Tokenizer.from_folder(folder)
    assert again.eos_ids == {ours.special_id(eos), 5, 6}
    assert again.chat_template == "beside"


def test_unknown_ids_have_no_bytes_and_negative_ones_are_refused(pairs):
    ours, _ = pairs["deepseek"]
    assert ours.vocab_size == 512
    assert ours.token_bytes(512) == b""
    with pytest.raises(TokenizerError, match="-1 is negative"):
        ours.token_bytes(-1)


def test_the_vocabulary_has_to_fit_the_embedding(pairs):
    ours, _ = pairs["deepseek"]
    ours.check_fits(512)
    with pytest.raises(TokenizerError, match="ids up to 511, the model's embedding 511 rows"):
        ours.check_fits(511)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "holds a list"),
        ("{}", "no model.vocab"),
        ('{"model": {"vocab": {"a": -1}}, "decoder": {"type": "ByteLevel"}}', "ids of 0 or more"),
        ('{"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}}', "WordPiece"),
        ('{"model": {"vocab": {"a": 0}}, "decoder": {"type": "ByteLevel"}}', "cannot be used"),
        (
            '{"model": {"vocab": {}}, "decoder": {"type": "Fuse"}, "added_tokens": [{"id": -4, "content": "x"}]}',
            "needs an id",
        ),
    ],
)
def test_malformed_files_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=message) as raised:
        Tokenizer.from_folder(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_an_end_token_outside_the_vocabulary_is_refused(tmp_path):
    folder = tiny_tokenizer(tmp_path, "deepseek")
    (folder / "generation_config.json").write_text('{"eos_token_id": 4000}')
    with pytest.raises(TokenizerError, match="End token 4000"):
        Tokenizer.from_folder(folder)
