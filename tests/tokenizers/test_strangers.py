"""Definitions of tokenizers from strangers: no text is cut, padded or changed without a word."""

import json

import keras
import numpy as np
import pytest

from keras_dmmd.tokenizers import BytePairTokenizer, CharacterTokenizer, SmilesTokenizer

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.plain
TEXT = "The  Únion of the\tstates,  naïve 🦆 12\n" * 3


@pytest.fixture(scope="module")
def definition():
    documents = ["the union of the states", "The State of the Union"] * 20
    return json.loads(BytePairTokenizer.train(documents, vocabulary_size=300).definition)


def changed(definition, **parts):
    """A definition with other parts; those of `model` are put into the old one."""
    model = {**definition["model"], **parts.pop("model", {})}
    return json.dumps({**definition, "model": model, **parts})


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def truncation(**kwargs):
    return {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0, **kwargs}


def padding(length):
    token = {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    return {"strategy": {"Fixed": length}, "direction": "Right", "pad_to_multiple_of": None, **token}


def moved(definition, i):
    """The vocabulary with another id for its last token."""
    vocabulary = dict(definition["model"]["vocab"])
    return {"vocab": {**vocabulary, list(vocabulary)[-1]: i}}


@pytest.mark.parametrize("end", [".", None])
def test_no_text_holds_the_end_token(end, definition):
    """Whether it is a letter, or one of an end token that is no special one."""
    if end is None:
        token = {**definition["added_tokens"][0], "special": False}
        tokenizer, end = BytePairTokenizer(changed(definition, added_tokens=[token])), token["content"]
    else:
        tokenizer = BytePairTokenizer.train(["the union.", "the states."] * 20, 300, end=end)
    assert tokenizer.decode(tokenizer.encode("the union")) == "the union"
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text], 20)):
        with pytest.raises(ValueError, match="end token .* stands within a text.*the union.*states"):
            encode(f"the union{end}states")
    plain = BytePairTokenizer(json.dumps(definition))
    text = "the union<|endoftext|>states"  # whose end token is special: letters alone
    assert plain.decode(plain.encode(text)) == text


@pytest.mark.parametrize(
    "parts",
    [
        {"truncation": truncation()},
        {"truncation": truncation(max_length=0)},
        {"truncation": truncation(stride=9)},  # which panics
        {"truncation": truncation(), "padding": padding(500)},
        {"padding": padding(500)},
        {"padding": padding(10**12)},
        {"model": {"dropout": 0.9}},
    ],
)
def test_what_is_for_batches_and_for_training_is_off(parts, definition):
    plain = BytePairTokenizer(json.dumps(definition))
    tokenizer = BytePairTokenizer(changed(definition, **parts))
    for copy in (tokenizer, BytePairTokenizer.from_config(tokenizer.get_config())):
        np.testing.assert_array_equal(copy.encode(TEXT), plain.encode(TEXT))
        assert copy.decode(copy.encode(TEXT)) == TEXT


def added(i, content):
    flags = {
        "single_word": False,
        "lstrip": True,
        "rstrip": True,
        "normalized": False,
        "special": False,
    }
    return {"id": i, "content": content, **flags}


# Each changes the text: drops letters or spaces, turns some into others.
LOSSY = [
    {"normalizer": {"type": "Lowercase"}},
    {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]}},
    {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    {"normalizer": {"type": "Replace", "pattern": {"String": "states"}, "content": ""}},
    {"normalizer": {"type": "Prepend", "prepend": "x"}},
    {"pre_tokenizer": {"type": "Whitespace"}},
    {"pre_tokenizer": None},
    {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
    {"pre_tokenizer": {**split("[a-z]+"), "behavior": "Removed"}},
    {"post_processor": {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}},
    {"decoder": None},
    {"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}},
]


@pytest.mark.parametrize("parts", LOSSY)
def test_no_text_changes_without_a_word(parts, definition):
    """Refused as it is made, or refused with the place, or encoded so that it comes back."""
    try:
        tokenizer = BytePairTokenizer(changed(definition, **parts))
    except ValueError as error:
        assert "not a tokenizer.json" in str(error)
        return
    with pytest.raises(ValueError, match=r"does not give texts back .* From character \d+ on, '.* as"):
        tokenizer.encode(TEXT)


def test_what_a_normalizer_leaves_alone_is_encoded(definition):
    tokenizer = BytePairTokenizer(changed(definition, normalizer={"type": "Lowercase"}))
    text = "the union of the states"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    with pytest.raises(ValueError, match="From character 4 on, 'Union' comes back as 'union'"):
        tokenizer.encode("the Union")


@pytest.mark.parametrize("i", [1000, 4_294_967_295, 5])
def test_every_id_stands_for_one_token(i, definition):
    with pytest.raises(ValueError, match=r"ids of a vocabulary must be 0 to \d+.*without id \d+"):
        BytePairTokenizer(changed(definition, model=moved(definition, i)))
    tokens = [*definition["added_tokens"], added(5000, "Ú")]
    with pytest.raises(ValueError, match="ids of a vocabulary"):
        BytePairTokenizer(changed(definition, added_tokens=tokens, model=moved(definition, i)))


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": split("(")},
        {"pre_tokenizer": split("(" * 5000 + "a" + ")" * 5000)},
        {"pre_tokenizer": split(r"(a+)+\1$")},  # too many ways to match
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8AAAAA"}},
        {"decoder": {"type": "Strip", "content": "a", "start": 10**9, "stop": 10**9}},
        {"model": {"type": "Nonsense"}},
        {"model": {"merges": [["a", "nowhere"]]}},
        {"added_tokens": 5},
        {"version": "9.9"},
    ],
)
def test_a_panic_is_a_sentence(parts, definition):
    with pytest.raises(ValueError, match="tokenizer"):
        BytePairTokenizer(changed(definition, **parts)).encode("a" * 40 + "b")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 10_000, '{"model": 1}', "\x00", "\ufeff\ufeff{}"]
)
def test_files_that_make_no_tokenizer(text, tmp_path):
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="tokenizer.json' makes no tokenizer"):
        BytePairTokenizer.from_file(tmp_path / "tokenizer.json")


def test_bytes_of_a_file(definition, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="tokenizer.json' makes no tokenizer.*utf-8"):
        BytePairTokenizer.from_file(path)
    path.write_text("\ufeff" + json.dumps(definition), encoding="utf-8")  # as some editors save it
    assert BytePairTokenizer.from_file(path).encode("the union").size


@pytest.mark.parametrize(("definition", "end"), [(5, None), (None, None), (b"{}", None), ("{}", 5)])
def test_other_types(definition, end):
    with pytest.raises(ValueError, match="must be a string"):
        BytePairTokenizer(definition, end)


def test_keyboard_interrupts_are_not_swallowed(definition, monkeypatch):
    tokenizer = BytePairTokenizer(json.dumps(definition))

    class Interrupted:
        def encode(self, *args, **kwargs):
            raise KeyboardInterrupt

    monkeypatch.setattr(tokenizer, "_tokenizer", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode("the union")


@pytest.mark.parametrize("symbols", [5, None, [["a"]], [{}], ["a", None], [""]])
@pytest.mark.parametrize("kind", [CharacterTokenizer, SmilesTokenizer])
def test_symbols_that_are_none(kind, symbols):
    with pytest.raises(ValueError, match="must be (distinct|a string|a list)"):
        kind(symbols)


def test_many_repeated_symbols_are_counted_once():
    """Half a million of them would otherwise be counted half a million times."""
    with pytest.raises(ValueError, match="Received: 600000 of them, repeated:"):
        CharacterTokenizer([chr(0x10000 + i) for i in range(300_000)] * 2)


def test_assets_of_other_objects(tmp_path):
    """Only a tokenizer of KerasHub is asked to load what came in a config."""
    pytest.importorskip("keras_hub")
    config = {"tokenizer": keras.saving.serialize_keras_object(CharacterTokenizer()), "assets": {}}
    with pytest.raises(ValueError, match="must be a keras_hub Tokenizer. Received: CharacterTokenizer"):
        keras.saving.deserialize_keras_object(
            {"class_name": "HubTokenizer", "registered_name": "keras_dmmd>HubTokenizer"}
            | {"config": {**config, "end_id": None}, "module": None}
        )
