"""`keras-dmmd train`: what it reads, what it writes, how it goes on."""

import csv
import json
import pathlib
import re
import shlex

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import cli
from keras_dmmd.cli import cards, inputs, sources, training_data, watching
from keras_dmmd.cli import train as training
from keras_dmmd.cli.checkpoint import Checkpoint
from keras_dmmd.cli.watching import Run, Watch
from keras_dmmd_command.arguments import SIZES, parser
from tests.builders import ON_TORCH, SMALL, tiny_model

ALPHABET = "abc"


def parsed(*words):
    return parser().parse_args(["train", *map(str, words), "--out", "o"])


def read(*words):
    return training_data.read(parsed(*words))


def texts(n, longest=6, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(ALPHABET), rng.integers(1, longest + 1))) for _ in range(n)]


@pytest.fixture
def table(tmp_path):
    """A table of 200 texts of 1 to 6 letters, and whether they are long."""
    rows = [f"{text},{'long' if len(text) > 3 else 'short'}" for text in texts(200)]
    (tmp_path / "t.csv").write_text("word,kind\n" + "\n".join(rows))
    return tmp_path / "t.csv"


@pytest.mark.plain
def test_running_text(tmp_path):
    (tmp_path / "t.txt").write_text("one two. " * 400)
    data = read(tmp_path / "t.txt", "--length", 30, "--blocks", 16, "--held-out", 0.2)
    assert data.rows.shape == (90, 32) and data.held_out.shape == (22, 32)  # 2,880 of 3,600, 720
    assert data.tokenizer.decode(data.rows[0]) == ("one two. " * 4)[:32]
    assert data.vocabulary_size == len(set("one two. ")) + 1
    assert read(tmp_path / "t.txt", "--tokenizer", "bytes").vocabulary_size == 257
    assert len(read(tmp_path / "t.txt", "--held-out", 0).held_out) == 0
    learned = read(tmp_path / "t.txt", "--tokenizer", "bpe", "--vocabulary", 259)
    assert learned.vocabulary_size == 259


@pytest.mark.plain
def test_tables_have_classes(table, capsys):
    data = read(table, "--column", "word", "--label-column", "kind", "--length", 5)
    words = texts(200)
    kept = [word for word in words if len(word) <= 5]
    left_out = len(words) - len(kept)
    assert f"{left_out} of 200 texts have more than 5 tokens" in capsys.readouterr().out
    found = [
        (word, data.reading["classes"][label])
        for rows, labels in ((data.rows, data.labels), (data.held_out, data.held_out_labels))
        for word, label in zip(data.tokenizer.decode(rows), labels, strict=True)
    ]
    assert sorted(found) == sorted((word, "long" if len(word) > 3 else "short") for word in kept)
    sides = [set(data.tokenizer.decode(rows)) for rows in (data.rows, data.held_out)]
    assert not sides[0] & sides[1] and all(sides)
    assert data.num_classes == 2 and data.rows.shape[1] == 5


@pytest.mark.plain
def test_a_class_of_texts_that_are_all_too_long_is_none(table, capsys):
    """It is said; and the same data are read in the same way later."""
    words = [table, "--column", "word", "--label-column", "kind", "--length", 3]
    data = read(*words)
    assert data.reading["classes"] == ["short"] and data.num_classes == 1
    assert "No text of the classes ['long'] fits" in capsys.readouterr().out
    denoiser = kd.Denoiser(data.vocabulary_size, num_classes=1, **SMALL)
    process = kd.MaskedDiffusion(data.vocabulary_size)
    model = kd.DiffusionModel(denoiser, process, 3, tokenizer=data.tokenizer)
    args = parser().parse_args(["distill", "m", "--data", str(table), "--out", "o"])
    rows, labels = inputs.rows(args, model, {"reading": data.reading})
    assert len(rows) == len(data.rows) + len(data.held_out) and not labels.any()
    with pytest.raises(ValueError, match="--label must be"):  # of a card that has more classes
        inputs.label("b", model, {"reading": {**data.reading, "classes": ["a", "b"]}})


@pytest.mark.plain
def test_epochs_are_of_one_size_and_hold_what_was_asked_for(capsys):
    assert watching.in_epochs("update", 1500, 1000) == (2, 750)
    assert watching.in_epochs("round", 7, 50) == (1, 7)
    assert not capsys.readouterr().out
    assert watching.in_epochs("round", 51, 50) == (2, 26)
    assert capsys.readouterr().out == "52 rounds, 2 times 26, in place of 51.\n"


@pytest.mark.plain
def test_the_column_of_the_texts_is_said_and_remembered(tmp_path, capsys):
    (tmp_path / "one.csv").write_text("\n".join(texts(60)))
    first = (tmp_path / "one.csv").read_text().split("\n")[0]
    assert read(tmp_path / "one.csv").reading["column"] == first  # a header, as it seems
    assert f"The texts are the column {first!r} of " in capsys.readouterr().out


@pytest.mark.plain
def test_molecules_sequences_and_ids(tmp_path):
    (tmp_path / "m.smi").write_text("\n".join(f"{'C' * i}[nH]Cl a" for i in range(40)))
    data = read(tmp_path / "m.smi")
    assert data.tokenizer.symbols == ["C", "Cl", "[nH]"] and data.rows.shape[1] == 41
    (tmp_path / "p.fa").write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(texts(60))))
    assert read(tmp_path / "p.fa").tokenizer.symbols == list(ALPHABET)
    ids = np.random.default_rng(0).integers(0, 7, (60, 4))
    np.save(tmp_path / "x.npy", ids)
    np.save(tmp_path / "y.npy", ids[:, 0])
    data = read(tmp_path / "x.npy", "--labels", tmp_path / "y.npy")
    assert data.vocabulary_size == data.num_classes == 7 and data.tokenizer is None
    assert (data.rows[:, 0] == data.labels).all()
    assert (data.held_out[:, 0] == data.held_out_labels).all()
    assert len(data.rows) + len(data.held_out) == 60


@pytest.mark.plain
def test_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(40):
        place = tmp_path / "pictures" / str(10 if i % 2 else 9)
        place.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (4, 4), (i * 6, 0, 255 if i % 2 else 0)).save(place / f"{i}.png")
    options = ["--color", "--levels", 4, "--image-size", "2x3"]
    data = read(tmp_path / "pictures", *options)
    assert data.grid == (2, 9) and data.vocabulary_size == 4 and data.num_classes == 2
    blue = {"10": 3, "9": 0}
    classes = data.reading["classes"]
    assert all(
        row[2] == blue[classes[label]] for row, label in zip(data.rows, data.labels, strict=True)
    )


@pytest.mark.plain
@pytest.mark.parametrize(
    "words, message",
    [
        (["t.txt", "--labels", "y.npy"], "--labels is for a .npy file, not for text"),
        (["t.csv", "--lines"], "--lines is for text, not for a table"),
        (["many.csv"], "columns ['a', 'b'] of 'many.csv' has the texts? Name it with --column"),
        (["many.csv", "--column", "a", "--label-column", "c"], "--label-column must be one of"),
        (["many.csv", "--column", "a", "--label-column", "b"], "the first of them that of 'z'"),
        (["odd.csv"], "divided by commas, or by tabs where its name ends in .tsv"),
        (["empty.txt"], "There is no text in path='empty.txt'"),
        (["long.fa"], "more than 256 tokens, the most of a row unless you give --length: none"),
        (["same.smi"], "40 rows, 1 of them different, are too few"),
        (["objects.npy"], "objects.npy is no .npy file of numbers"),
        (
            ["t.txt", "--tokenizer", "w.json"],
            "with --end-token. Its special tokens: ['</s>']",
        ),
        (["x.npy", "--column", "a"], "--column is for a table, not for a .npy file"),
        (["x.npy", "--tokenizer", "bytes"], "--tokenizer is for texts, not for a .npy file"),
        (["t.txt", "--end-token", "a"], "--end-token is for --tokenizer tokenizer.json, not"),
        (["t.txt", "--vocabulary", "300"], "--vocabulary is for --tokenizer bpe"),
        (["t.txt", "--levels", "4"], "--levels is for a folder of images, not for text"),
        (["huge.npy"], "at most 16,777,215. Received: 2 different values from 0 to 4,294,967,299"),
        (["x.npy", "--labels", "minus.npy"], "classes, numbered from 0, at most"),
        (["minus.npy"], "minus.npy must be integers of shape (n, length)"),
        (["halves.npy"], "must be integers of shape (n, length), not empty. Received: shape (1, 1)"),
        (["x.npy", "--labels", "halves.npy"], "halves.npy must be classes, integers. Received: float"),
        (["x.npy", "--labels", "nowhere.npy"], "There is no file 'nowhere.npy'"),
        (["nothing.npy"], "nothing.npy is no .npy file of numbers"),
        (
            ["open.csv"],
            "'open.csv' is no table: unexpected end of data, in the row that begins",
        ),
        (["mixed"], "holds both texts and images, 1 .txt file(s) and 2 image(s)"),
        (["mixed", "--image-size", "4x4"], "mixed/B.JPG"),
        (["mixed", "--color"], "mixed/B.JPG"),
        (["mixed", "--length", "9"], "too few"),
        (["mixed", "--whole"], "too few"),
        (["bare"], "There are no .txt files and no images in the folder 'bare'. DATA is"),
        (["mixed/a.png"], "The file 'mixed/a.png' is no text. DATA is"),
        (["wide.txt"], "'wide.txt' is UTF-16: save it as UTF-8"),
        (["latin.txt"], "'latin.txt' is not UTF-8, save it as that"),
        (["t.txt", "--held-out", "1"], "`--held-out` must be a number in [0, 1)"),
        (["t.txt", "--tokenizer", "words"], "or the path of a tokenizer.json. Received: 'words'"),
        (["t.txt", "--length", "0"], "`--length` must be"),
        (["t.txt", "--updates", "0"], "`--updates` must be"),
        (["t.txt", "--minutes", "-1"], "`--minutes` must be"),
        (["nowhere.txt"], "nowhere.txt"),
        (["t.txt", "--seed", "-1"], "`--seed` must be an integer of at least 0"),
        (["t.txt", "--tokenizer", "bpe", "--vocabulary", "3"], "`--vocabulary` must be"),
        (["t.txt", "--length", "1000"], "held out (--held-out 0.1; 0 is none) have 157 tokens, end"),
        (["short.txt", "--length", "300"], "document(s) in 1 file(s) are too few to hold out 10%"),
        (["short.txt", "--length", "300", "--held-out", "0"], "fewer than one row of --length 300"),
        (["short.txt"], "that is 16 character(s), and must be at least 100, with"),
        (["zip.npy"], "zip.npy is no .npy file of numbers"),
    ],
)
def test_what_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("abc " * 400)
    (tmp_path / "t.csv").write_text("text\na\n")
    (tmp_path / "short.txt").write_text("abc " * 50)
    (tmp_path / "many.csv").write_text("a,b\nx,y\nz,\n")
    (tmp_path / "odd.csv").write_text("text;b\nx;y\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "long.fa").write_text(">a\n" + "ACGT" * 100)
    (tmp_path / "same.smi").write_text("CO\n" * 40)
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    model = {"type": "WordLevel", "vocab": {"a": 0, "</s>": 1}, "unk_token": "a"}
    ends = {"id": 1, "content": "</s>", "special": True}
    ends |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    (tmp_path / "w.json").write_text(json.dumps({"model": model, "added_tokens": [ends]}))
    (tmp_path / "zip.npy").write_bytes(b"PK\x03\x04" + bytes(100))
    np.save("x.npy", np.zeros((4, 3), int))
    np.save("huge.npy", np.array([[0, 2**32 + 3]]))
    np.save("minus.npy", np.array([0, -1, 0, 0]))
    np.save("halves.npy", np.array([[0.5]]))
    (tmp_path / "nothing.npy").write_bytes(b"")
    (tmp_path / "open.csv").write_text('text,n\n"a,1\nb,2\n')
    for name in ("mixed/.hidden/b.png", "mixed/a.png", "mixed/B.JPG", "bare/.notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89PNG\0")
    (tmp_path / "mixed" / "A.TXT").write_text("a text")
    (tmp_path / "wide.txt").write_text("abc", encoding="utf-16")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 40)
    assert cli.main(["train", *words, "--out", "o"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-dmmd train: ") and message in line


@pytest.mark.plain
def test_sizes_are_those_of_the_networks():
    assert SIZES.keys() == kd.Denoiser.sizes.keys()
    for name, size in kd.Denoiser.sizes.items():
        assert f"{size['num_layers']} layers of {size['hidden_dim']} features" in SIZES[name]


@pytest.mark.plain
def test_minutes_become_updates_once(tmp_path, monkeypatch):
    """Measured without what compiles, and remembered by a run that goes on."""
    now = iter([100.0, 101.0, 103.5])
    monkeypatch.setattr(watching.time, "monotonic", lambda: next(now))
    clock = watching.Clock(per_epoch=5)
    clock.set_model(type("Model", (), {"stop_training": False})())
    stopped = []
    for epoch in range(3):
        clock.on_epoch_end(epoch)
        stopped.append(clock.model.stop_training)
    assert clock.seconds == 0.35 and stopped == [False, False, True]
    for number in (7, 8):
        checkpoint = Checkpoint(str(tmp_path / "c"), {"minutes": 1})
        assert checkpoint.remember("updates", lambda number=number: number) == 7
    (tmp_path / "c" / "updates.json").write_text("{}")
    with pytest.raises(ValueError, match="has no 'updates'"):
        checkpoint.remember("updates", lambda: 9)
    (tmp_path / "c" / "settings.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        Checkpoint(str(tmp_path / "c"), {"minutes": 1})


@pytest.mark.plain
def test_looks_take_a_share_of_the_time(tmp_path, monkeypatch, capsys):
    """The first and the last are there, and those between that fit."""
    clock = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Watch, "_show", lambda watch, done: clock.__setitem__(0, clock[0] + 10.0))
    watch = Watch(Run(updates=12, per_epoch=2, folder=str(tmp_path), channels=1))
    for epoch in range(6):
        watch.on_epoch_begin(epoch)
        clock[0] += 20.0
        watch.on_epoch_end(epoch, {"loss": 1.5})
    # Of looks before there were 0, 10, 20, 30, 30 and 40 seconds: the fourth of them is left out.
    assert [row["seconds"] for row in watch.log] == [20, 50, 80, 110, 130, 160]
    assert watch.looked == 50 and watch.seconds == 170
    assert "update 2 of 12: loss 1.5, 1.7 minutes left" in capsys.readouterr().out
    rows = (np.zeros((512, 3), int),)
    for per_epoch, number in ((10, 1), (250, 4)):
        run = Run(updates=500, per_epoch=per_epoch, folder="", channels=1, held_out=rows)
        assert run.corruptions == number


@pytest.fixture
def command(table, tmp_path, monkeypatch):
    """Trains a small network on the table into `tmp_path / "out"`, in two epochs of two updates."""
    monkeypatch.setitem(kd.Denoiser.sizes, "nano", SMALL)
    words = ["train", table, "--column", "word", "--label-column", "kind", "--size", "nano"]
    words += ["--updates", 4, "--every", 2, "--license", "mit", "--out", tmp_path / "out"]
    return list(map(str, words))


@ON_TORCH
def test_one_held_out_row_has_no_error(tmp_path, capsys):
    model = tiny_model()
    model.compile()
    one, many = (training.bits(model, (np.zeros((n, 5), "int32"),), 8) for n in (1, 8))
    assert one[0] > 0 and one[1] is None and many[1] > 0


def log_of(folder):
    with open(folder / "training.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.long_compilation
def test_a_table_becomes_a_model(command, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "samples.txt").write_text("of an older run\n")
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "update 4 of 4" in shown
    assert re.search(r": [\d.]+ ± [\d.]+ bits per token on held-out data \([\d.]+ before\)", shown)
    model, card = kd.from_preset(str(out)), kd.presets.read_card(str(out))
    assert model.capabilities.num_classes == 2 and model.tokenizer.decode([[0, 1, 2]]) == ["abc"]
    assert card["command"].startswith("keras-dmmd train ") and card["updates"] == 4
    assert card["license"] == "mit" and card["machine"]["versions"]["keras"] == keras.__version__
    held_out, error = card["nelbo_bits_per_token"]["held_out"]
    assert 0 < held_out < 10 and 0 < error
    assert [row["update"] for row in log_of(out)] == ["2", "4"]
    samples = (out / "samples.txt").read_text().split("\n")[:-1]
    assert not (out / "checkpoint").exists() and len(samples) == 6
    assert samples[0] == "update 2" and samples[3] == "update 4"


def of_text(folder):
    (folder / "t.txt").write_text("one two. " * 400)
    return ["t.txt", "--length", 16]


def of_molecules(folder):
    (folder / "m.smi").write_text("\n".join("C" * i + "O" for i in range(1, 40)))
    return ["m.smi"]


def of_sequences(folder):
    (folder / "p.fasta").write_text("".join(f">{i}\n{text}\n" for i, text in enumerate(texts(60))))
    return ["p.fasta"]


def of_ids(folder):
    ids = np.random.default_rng(0).integers(0, 7, (60, 4))
    np.save(folder / "x.npy", ids)
    np.save(folder / "y.npy", ids[:, 0])
    return ["x.npy", "--labels", "y.npy"]


def of_pictures(folder):
    image = pytest.importorskip("PIL.Image")
    for i in range(40):
        place = folder / "pictures" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        image.new("L", (4, 4), i * 6).save(place / f"{i}.png")
    return ["pictures"]


@ON_TORCH
@pytest.mark.parametrize("write", [of_text, of_molecules, of_sequences, of_ids, of_pictures])
def test_data_of_every_kind_become_a_model_that_reads_them(write, tmp_path, monkeypatch):
    """All that was learned from and held out is what `distill` would learn from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(kd.Denoiser.sizes, "nano", SMALL)
    data, *options = map(str, write(tmp_path))
    command = ["train", data, *options, "--size", "nano", "--updates", "1", "--held-out", "0"]
    assert cli.main([*command, "--out", "teacher"]) == 0
    model, card = kd.from_preset("teacher"), kd.presets.read_card("teacher")
    again = options if "--labels" in options else []
    args = parser().parse_args(["distill", "teacher", "--data", data, *again, "--out", "student"])
    rows, labels = inputs.rows(args, model, card)
    assert len(rows) == card["data"]["rows"] > 20 and rows.shape[1] == model.length
    assert card["data"]["digest"] == cards.digest(rows, labels)
    assert (labels is None) == (model.capabilities.num_classes is None) == (write not in LABELLED)
    pictures = [path.name for path in (tmp_path / "teacher").glob("*.png")]
    assert pictures == (["samples_000001.png"] if write is of_pictures else [])


LABELLED = (of_ids, of_pictures)


@ON_TORCH
@pytest.mark.parametrize("words", ["bytes", "bpe --vocabulary 260", "own.json --end-token [END]"])
def test_every_tokenizer_goes_all_the_way(words, tmp_path, monkeypatch, capsys):
    """From a raw file to samples, a report and a file that carries the tokenizer along."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(kd.Denoiser.sizes, "nano", SMALL)
    data, *_ = of_text(tmp_path)
    learned = kd.tokenizers.BytePairTokenizer.train(["one two. "], 258, end="[END]")
    (tmp_path / "own.json").write_text(learned.definition)
    options = ["--tokenizer", *words.split(), "--length", "12", "--size", "nano", "--updates", "1"]
    for command in (
        ["train", data, *options, "--out", "m"],
        ["generate", "m", "-n", "2", "--prompt", "one", "--steps", "2", "--out", "found.txt"],
        [
            "evaluate",
            "m",
            "--data",
            data,
            "--steps",
            "1",
            "--samples",
            "8",
            "--seeds",
            "0",
            "--out",
            "r",
        ],
        ["export", "m", "--kind", "prior", "--out", "m.pt2"],
    ):
        assert cli.main(command) == 0, capsys.readouterr().err
    assert (tmp_path / "found.txt").read_text().startswith("one")
    about = json.loads((tmp_path / "m.pt2.json").read_text())
    tokenizer = keras.saving.deserialize_keras_object(about["tokenizer"])
    assert tokenizer.decode(tokenizer.encode("two. ♪")) == "two. ♪"  # of bytes all of them
    assert tokenizer.get_config() == kd.from_preset("m").tokenizer.get_config()


@ON_TORCH
def test_a_run_goes_on(command, tmp_path, monkeypatch, capsys):
    """After an interruption from the last look, and with the same options alone."""
    begun, fit, out = [], kd.DiffusionModel.fit, tmp_path / "out"

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            begun.append(epoch)
            if len(begun) == 2:
                raise KeyboardInterrupt

    def interrupted(model, *args, callbacks, **kwargs):
        return fit(model, *args, callbacks=[*callbacks, Interrupt()], **kwargs)

    monkeypatch.setattr(kd.DiffusionModel, "fit", interrupted)
    assert cli.main(command) == 130 and not (out / "config.json").exists()
    assert cli.main(["generate", str(out)]) == 2
    assert "was interrupted and has made no model yet" in capsys.readouterr().err
    assert cli.main([*command, "--seed", "1"]) == 2
    assert "a run with other rows, seed" in capsys.readouterr().err
    assert cli.main(command) == 0 and begun == [0, 1, 1]
    log = log_of(out)
    assert [row["update"] for row in log] == ["2", "4"] and float(log[1]["bits"]) > 0
    assert 0 < float(log[0]["seconds"]) < float(log[1]["seconds"])
    first = kd.from_preset(str(out)).get_weights()
    assert cli.main([*command[:-1], str(tmp_path / "whole")]) == 0  # without interruption
    for a, b in zip(first, kd.from_preset(str(tmp_path / "whole")).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.plain
def test_a_model_reads_as_its_data_were_read(tmp_path):
    """The same columns and classes, without a word; another class is refused."""
    tokenizer = kd.tokenizers.CharacterTokenizer(ALPHABET, end=True)
    denoiser = kd.Denoiser(4, num_classes=2, **SMALL)
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(4), 4, tokenizer=tokenizer)
    known = {"kind": "table", "column": "word", "label_column": "kind", "classes": ["long", "short"]}
    card = {"reading": known}
    (tmp_path / "t.csv").write_text("kind,word\nshort,ab\nlong,abcab\nlong,bcab\n")
    args = parser().parse_args(["distill", "m", "--data", str(tmp_path / "t.csv"), "--out", "o"])
    rows, labels = inputs.rows(args, model, card)
    assert tokenizer.decode(rows) == ["ab", "bcab"] and labels.tolist() == [1, 0]
    (tmp_path / "t.csv").write_text("kind,word\nmiddling,ab\n")
    with pytest.raises(ValueError, match="'middling'.*none of the model's classes"):
        inputs.rows(args, model, card)
    assert inputs.label("short", model, card) == 1 and inputs.label("0", model, card) == 0
    for wrong in ("middling", "2"):  # 2 is the number of no class at all
        with pytest.raises(ValueError, match=r"must be a number from 0 to 1, or one of \['long', 'sh"):
            inputs.label(wrong, model, card)
    stars = {"reading": {**known, "classes": ["1", "2"]}}
    assert inputs.label("1", model, stars) == 0 and inputs.label("2", model, stars) == 1
    with pytest.raises(ValueError, match=r"--label must be one of \['1', '2'\]. Received: '0'"):
        inputs.label("0", model, stars)
    with pytest.raises(ValueError, match="has no classes"):
        inputs.label("0", kd.DiffusionModel(kd.Denoiser(4, **SMALL), kd.MaskedDiffusion(4)), {})
    (tmp_path / "t.smi").write_text("ab\ncc\n")  # of another kind: as such data are read
    args.data = str(tmp_path / "t.smi")
    rows, labels = inputs.rows(args, model, card)
    assert tokenizer.decode(rows) == ["ab", "cc"] and labels is None


@pytest.mark.plain
@pytest.mark.parametrize(
    "reading",
    [[], "text", {"classes": "ab"}, {"classes": [1]}, {"column": 3}, {"whole": "no"}, {"kind": []}],
)
def test_cards_of_strangers(reading):
    with pytest.raises(ValueError, match="odd `reading`"):
        sources.remembered({"reading": reading})


@pytest.mark.plain
def test_commands_of_the_docs_are_such():
    docs = pathlib.Path(__file__).parent.parent / "docs"
    commands = re.findall(r"^(?:KERAS_BACKEND=\w+ )?keras-dmmd (.*)$", _pages(docs), re.M)
    assert len(commands) > 15
    for command in commands:
        parser().parse_args(shlex.split(command, comments=True))


def _pages(folder):
    return "\n".join((folder / page).read_text() for page in ("command.md", "exporting.md"))


@pytest.mark.plain
def test_numbers_as_classes_are_in_their_order():
    assert sources.classes_of(["10", "9", "1"]) == ["1", "9", "10"]
    assert sources.classes_of(["b", "10", "a"]) == ["10", "a", "b"]


@pytest.mark.plain
def test_models_of_every_kind(tmp_path):
    """What the options make of data, without training."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 5, (60, 8)))
    args = parsed(tmp_path / "x.npy", "--process", "uniform", "--blocks", 4, "--size", "nano")
    model = training.build(args, training_data.read(args))
    assert isinstance(model.process, kd.UniformDiffusion) and model.capabilities.block_size == 4
    assert model.steps == 4 and model.denoiser.hidden_dim == kd.Denoiser.sizes["nano"]["hidden_dim"]
    rate = training.optimizer(100, 0.5).learning_rate
    assert float(rate) == 0.0
    schedule = training.optimizer(100, 0.5).get_config()["learning_rate"]["config"]
    assert schedule["warmup_steps"] == 5 and schedule["decay_steps"] == 95
    assert float(training.optimizer(1, 0.5).learning_rate) == 0.5


@pytest.mark.plain
def test_cards_are_json(table):
    data = read(table, "--column", "word")
    args = parsed(table)
    args.line = "keras-dmmd train t.csv"
    rows = training.cards.data(args, data.rows, None, data.held_out)
    card = training.cards.made_by(args, data=rows, empty=None, process="masked")
    assert json.loads(json.dumps(card)) == card and "empty" not in card
    assert len(rows["digest"]) == 2 and rows["rows"] == len(data.rows)
    again = training.cards.data(args, data.rows[::-1], None, data.held_out)
    assert again["digest"] != rows["digest"]
