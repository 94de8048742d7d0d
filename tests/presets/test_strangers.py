"""Presets from strangers: refused in one sentence that names file and entry, and nothing is made."""

import copy
import json
import os

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import numpy, randomise, small_model
from tests.weight_files import hostile

HUGE = [10**9, 10**12, 10**30]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A folder, its config, its arrays."""
    folder = tmp_path_factory.mktemp("preset")
    model = randomise(small_model().copy(noise="token"))
    kd.presets.save_to_preset(model, folder)
    with np.load(folder / "weights.npz") as file:
        return json.loads((folder / "config.json").read_text()), dict(file)


def write(folder, config, arrays):
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    np.savez(folder / "weights.npz", **arrays)
    return folder


def changed(config, place, value):
    """A config with another value at a path of keys; `...` leaves the entry out."""
    config = copy.deepcopy(config)
    part = config
    *keys, last = place.split(".")
    for key in keys:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return config


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "5",
        '"text"',
        "{",
        '{"class_name": 5}',
        "[" * 100_000,
        "9" * 5000,
        "\x00",
    ],
)
def test_what_is_no_config(text, preset, tmp_path):
    write(tmp_path, text, preset[1])
    with pytest.raises(ValueError, match="config.json'"):
        kd.from_preset(tmp_path)


def test_bytes_that_are_no_text(preset, tmp_path):
    write(tmp_path, preset[0], preset[1])
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ValueError, match="config.json'"):
        kd.from_preset(tmp_path)


SIZES = [
    "vocabulary_size",
    "num_states",
    "hidden_dim",
    "num_layers",
    "num_heads",
    "mlp_dim",
    "cond_dim",
]
SIZES = [f"config.denoiser.config.{name}" for name in [*SIZES, "num_frequencies"]]
SIZES += ["config.steps", "config.length", "config.process.config.vocabulary_size"]
SIZES += [f"config.denoiser.config.noise.config.{name}" for name in ("hidden_dim", "symbols")]


@pytest.mark.parametrize("place", SIZES)
@pytest.mark.parametrize("value", HUGE)
def test_absurd_sizes_are_named_at_once(place, value, preset, tmp_path):
    config, arrays = preset
    write(tmp_path, changed(config, place, value), arrays)
    with pytest.raises(ValueError, match=rf"config.json': {place} is {value}"):
        kd.from_preset(tmp_path)


@pytest.mark.parametrize(
    "place", [place for place in SIZES if "steps" not in place and "length" not in place]
)
def test_sizes_of_another_model(place, preset, tmp_path):
    """Sizes that may well be: the model is compared with the file, and takes no memory before."""
    config, arrays = preset
    value = len(arrays) if place.endswith("num_layers") else 2**21
    write(tmp_path, changed(config, place, value), arrays)
    with pytest.raises(ValueError, match=r"describes no model|do not belong to the model"):
        kd.from_preset(tmp_path)


@pytest.mark.parametrize("value", [None, True, -1, 0, 2.5, "4", [], {}, [4], float("nan")])
@pytest.mark.parametrize("name", ["num_layers", "hidden_dim", "vocabulary_size", "cond_dim"])
def test_sizes_of_other_types(name, value, preset, tmp_path):
    config, arrays = preset
    write(tmp_path, changed(config, f"config.denoiser.config.{name}", value), arrays)
    with pytest.raises(ValueError, match=r"config.json"):
        kd.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("place", "values"),
    [
        ("config.denoiser.config.norm_epsilon", [None, -1, "x", {}, float("nan"), float("inf"), True]),
        ("config.denoiser.config.grid", ["ab", {"a": 1}, [], [1], [0, 0], [-1, -5], [2.5, 2], True, 5]),
        ("config.denoiser.config.num_frequencies", ["x", -1, 2.5, None]),
        ("config.denoiser.config.length", ["x", -1, 2.5, [5]]),
        ("config.denoiser.config.dropout", [None, "x", -1, True, float("nan")]),
        ("config.seed", [None, "x", {}, 1.5]),
    ],
)
def test_values_that_would_fail_later(place, values, preset, tmp_path):
    """Refused with the name of the argument."""
    config, arrays = preset
    for value in values:
        write(tmp_path, changed(config, place, value), arrays)
        with pytest.raises(ValueError, match=f"config.json.*{place.rpartition('.')[2]}"):
            kd.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("config", 5),
        ("config", ...),
        ("class_name", ...),
        ("config.denoiser", ...),
        ("config.denoiser", None),
        ("config.process", []),
        ("config.process.config.schedule", 3),
        ("config.sampler", "nonsense"),
        ("config.name", "a/b"),
        ("config.steps", "x"),
        ("config.extra", 1),
        ("config.tokenizer", {"class_name": "CharacterTokenizer", "config": {"characters": 5}}),
        (
            "config.denoiser",
            {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S4000000000"}},
        ),
        (
            "config.denoiser",
            {"class_name": "__tensor__", "config": {"value": [1], "dtype": ["float32"]}},
        ),
        ("config.denoiser", {"class_name": "__numpy__", "config": None}),
        ("registered_name", "keras_dmmd>MaskedDiffusion"),
        ("registered_name", ["keras_dmmd>DiffusionModel"]),
        ("config.denoiser.module", "keras_dmmd.nowhere.at.all"),
        ("config.denoiser.module", "keras_dmmd..models"),
        ("build_config", {"input_shape": 5}),
        ("build_config", {}),
    ],
)
def test_other_entries(place, value, preset, tmp_path):
    config, arrays = preset
    write(tmp_path, changed(config, place, value), arrays)
    try:
        model = kd.from_preset(tmp_path)
    except ValueError as error:
        assert str(tmp_path) in str(error)
    else:  # where it does not matter: classes are found by their registered names
        assert place.endswith(("module", "build_config"))
        np.testing.assert_array_equal(numpy(model.weights[0]), list(arrays.values())[0])


def test_a_model_that_is_none(preset, tmp_path):
    config, arrays = preset
    write(tmp_path, config["config"]["process"], arrays)
    with pytest.raises(ValueError, match="config.json' describes no model, but: MaskedDiffusion"):
        kd.from_preset(tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        {"module": "builtins", "class_name": "__lambda__", "config": {"value": "gASVAA=="}},
        {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": {"class_name": "__lambda__", "config": {}}},
        },
        {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"},
        {"module": "os", "class_name": "mkdir", "config": {"path": "{canary}"}},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "{canary}"}},
    ],
)
def test_nothing_is_executed(harm, preset, tmp_path):
    config, arrays = preset
    canary = tmp_path / "canary"
    text = json.dumps(changed(config, "config.denoiser", harm)).replace("{canary}", str(canary))
    write(tmp_path, text, arrays)
    with pytest.raises(ValueError, match="config.json' describes no model"):
        kd.from_preset(tmp_path)
    assert not canary.exists()


def first(arrays, **changes):
    """The arrays with another one in the place of the first, as members of a zip."""
    name, array = next(iter(arrays.items()))
    return {**{n: hostile.npy(a) for n, a in arrays.items()}, name: hostile.npy(array, **changes)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: dict(list(a.items())[1:]),
            "17 for 18, and only one of them has '000 token_embedding/",
        ),
        (lambda a: {**a, "more": np.zeros(3)}, "19 for 18, and only one of them has 'more'"),
        (lambda a: {**a, next(iter(a)): np.zeros((3, 3))}, r"'000 .*' has shape \(3, 3\), and not"),
        (lambda a: {**a, next(iter(a)): np.zeros((0, 10**12))}, "has shape"),
        (
            lambda a: {n: np.full_like(v, np.nan) for n, v in a.items()},
            "damaged at '000 .*values that are not finite",
        ),
        (lambda a: {n: v.astype("U4") for n, v in a.items()}, "weights.npz' are damaged at '000 "),
        (lambda a: {n: v.astype(object) for n, v in a.items()}, "weights.npz' are damaged at '000 "),
    ],
)
def test_weights_of_other_models(change, message, preset, tmp_path):
    config, arrays = preset
    write(tmp_path, config, change(arrays))
    with pytest.raises(ValueError, match=message):
        kd.from_preset(tmp_path)


def test_weights_that_declare_more_than_they_hold(preset, tmp_path):
    """The config and the headers agree on 8 GB, of which the file holds a few kilobytes."""
    config, arrays = preset
    config = changed(config, "config.denoiser.config.noise.config.symbols", 2**23)
    name = next(name for name in arrays if "noise" in name)
    members = {n: hostile.npy(a) for n, a in arrays.items()}
    members[name] = hostile.npy(arrays[name], shape=(2**23, 16))
    write(tmp_path, config, arrays)
    hostile.write_npz(tmp_path / "weights.npz", members)
    with pytest.raises(OSError, match="weights.npz' are damaged at '.*noise.*declares shape"):
        kd.from_preset(tmp_path)


def test_missing_weights(preset, tmp_path):
    write(tmp_path, *preset)
    os.remove(tmp_path / "weights.npz")
    with pytest.raises(OSError, match="weights.npz"):
        kd.from_preset(tmp_path)


def test_a_refused_preset_leaves_nothing_behind(preset, tmp_path):
    """What was made for it and never filled must not be allocated by what comes after."""
    config, arrays = preset
    write(tmp_path, changed(config, "config.denoiser.config.hidden_dim", 2**22), arrays)
    with pytest.raises(ValueError):
        kd.from_preset(tmp_path)
    last = list(arrays)[-1]
    arrays = {**arrays, last: np.full_like(arrays[last], np.inf)}
    (tmp_path / "half").mkdir()
    with pytest.raises(ValueError, match="not finite"):
        kd.from_preset(write(tmp_path / "half", config, arrays))
    with keras.StatelessScope():
        pass  # its end allocates all that waits
    (tmp_path / "good").mkdir()
    loaded = kd.from_preset(write(tmp_path / "good", *preset))
    for weight, values in zip(loaded.weights, preset[1].values(), strict=True):
        np.testing.assert_array_equal(numpy(weight), values.astype("float32"))


@pytest.mark.parametrize("wrong", [None, 5, 1.5, b"digits", ["digits"]])
def test_what_is_no_name(wrong):
    with pytest.raises(ValueError, match="`preset` must be a "):
        kd.from_preset(wrong)


@pytest.mark.parametrize("text", ["[]", "{", "null"])
def test_cards(text, preset, tmp_path):
    write(tmp_path, *preset)
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(ValueError, match="card.json'"):
        kd.presets.read_card(tmp_path)
