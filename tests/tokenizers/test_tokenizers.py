"""Tokenizers: what goes in comes out, and what cannot go in is named."""

import keras
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_dmmd.tokenizers import (
    BytePairTokenizer,
    ByteTokenizer,
    CharacterTokenizer,
    SmilesTokenizer,
)

pytestmark = pytest.mark.plain
DOCUMENTS = ["the union of the states", "the state of the union", "citizens of the union"] * 20
text8 = st.text(alphabet=" abcdefghijklmnopqrstuvwxyz")
unicode = st.text(st.characters(exclude_categories=["Cs"]))


def bpe(**kwargs):
    pytest.importorskip("tokenizers")
    return BytePairTokenizer.train(DOCUMENTS, vocabulary_size=300, **kwargs)


@pytest.fixture(scope="module")
def trained():
    return bpe()


def every():
    with_end = CharacterTokenizer("abc", end=True)
    return [CharacterTokenizer(), with_end, ByteTokenizer(), SmilesTokenizer()]


@given(text8)
def test_characters_round_trip(text):
    tokenizer = CharacterTokenizer()
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32 and len(ids) == len(text)
    assert tokenizer.decode(ids) == text


@given(unicode)
def test_bytes_round_trip(text):
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


@settings(deadline=None)
@given(unicode)
@example("naïve 🦆\n\n  two spaces\t")
@example("<|endoftext|>")
def test_byte_pairs_round_trip(trained, text):
    ids = trained.encode(text)
    assert ((0 <= ids) & (ids < trained.vocabulary_size)).all()
    assert trained.end_id not in ids
    assert trained.decode(ids) == text


@given(st.lists(st.sampled_from(SmilesTokenizer().symbols)))
def test_smiles_round_trip(symbols):
    text = "".join(symbols)
    ids = SmilesTokenizer().encode(text)
    assert SmilesTokenizer().decode(ids) == text
    assert SmilesTokenizer().split(text) == symbols


@given(st.text(st.sampled_from("[]BrCl%12cN@+-\n")))
def test_smiles_drop_nothing(text):
    """Whatever a model writes: the symbols of a text make it up again."""
    assert "".join(SmilesTokenizer().split(text)) == text


def test_smiles_symbols():
    assert SmilesTokenizer().split("C[C@H](Br)c1cc(Cl)[nH]c1C%12") == (
        "C [C@H] ( Br ) c 1 c c ( Cl ) [nH] c 1 C %12".split()
    )
    learned = SmilesTokenizer.learn(["CCO", "c1ccccc1[N+]"])
    assert learned.symbols == ["1", "C", "O", "[N+]", "c"] and learned.end_id == 5


def test_byte_pairs_are_learned(trained):
    assert trained.vocabulary_size <= 300
    assert len(trained.encode("the union of the states")) < 10
    text = "the duck"  # letters that no merge knows still have their bytes
    assert trained.decode(trained.encode(text)) == text


@pytest.mark.parametrize("index", range(4))
def test_survive_serialisation(index):
    tokenizer = every()[index]
    config = keras.saving.serialize_keras_object(tokenizer)
    other = keras.saving.deserialize_keras_object(config)
    assert type(other) is type(tokenizer) and other.get_config() == tokenizer.get_config()
    assert (other.vocabulary_size, other.end_id) == (tokenizer.vocabulary_size, tokenizer.end_id)


def test_byte_pairs_survive_serialisation_and_files(trained, tmp_path):
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trained))
    (tmp_path / "tokenizer.json").write_text(trained.definition, encoding="utf-8")
    for copy in (other, BytePairTokenizer.from_file(tmp_path / "tokenizer.json")):
        np.testing.assert_array_equal(copy.encode("the union"), trained.encode("the union"))
        assert copy.end_id == trained.end_id


def test_rows_end_with_the_end_token():
    tokenizer = CharacterTokenizer("abc", end=True)
    rows = tokenizer.encode_batch(["ab", "", "cab"], length=3)
    assert rows.tolist() == [[0, 1, 3], [3, 3, 3], [2, 0, 1]] and rows.dtype == np.int32
    assert tokenizer.decode(rows) == ["ab", "", "cab"]
    assert tokenizer.decode([0, 3, 2, 1]) == "a"  # nothing after the end


def test_unknown_symbols_are_named():
    with pytest.raises(ValueError, match=r"2 symbol\(s\).*\['!', 'X'\].*token 3"):
        CharacterTokenizer().encode("helXo!")
    with pytest.raises(ValueError, match=r"\[Na\+\]"):
        SmilesTokenizer().encode("CC[Na+]")


def test_long_and_short_texts_are_reported():
    with pytest.raises(
        ValueError, match="2 of 3 texts .* more than length=2 .*index 1.*index 2, has 4"
    ):
        CharacterTokenizer(end=True).encode_batch(["ab", "abc", "abcd"], length=2)
    with pytest.raises(ValueError, match="1 of 2 texts .* fewer than length=2 .*index 1.*no end token"):
        CharacterTokenizer().encode_batch(["ab", "a"], length=2)


def test_bytes_that_are_no_text_decode():
    assert ByteTokenizer().decode([0xFF, 0x61, 256, 0x62]) == "\ufffda"


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: CharacterTokenizer("aab"), "repeated: \\['a'\\]"),
        (
            lambda: CharacterTokenizer(""),
            "`characters` must be distinct, non-empty strings. Received: 0",
        ),
        (lambda: CharacterTokenizer(["ab"]), "single characters"),
        (lambda: SmilesTokenizer([1, "C"]), "`symbols` must be a string. Received: int 1"),
        (lambda: CharacterTokenizer().encode(b"abc"), "must be a string.*bytes"),
        (lambda: CharacterTokenizer().decode([27]), r"`ids` must be ids from 0 to 26.*from 27"),
        (lambda: CharacterTokenizer().decode([[[0]]]), "shape"),
        (lambda: CharacterTokenizer().encode_batch("abc", 3), "iterable of strings"),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_bad_byte_pairs(trained):
    with pytest.raises(ValueError, match="not a tokenizer.json"):
        BytePairTokenizer("{}")
    with pytest.raises(ValueError, match="no token '<end>'"):
        BytePairTokenizer(trained.definition, end="<end>")
    with pytest.raises(ValueError, match="at least 257"):
        BytePairTokenizer.train(DOCUMENTS, vocabulary_size=256)
    assert BytePairTokenizer(trained.definition, end=None).end_id is None
