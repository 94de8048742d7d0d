"""Adapters, integers and frozen layers: in copies, in files, merged, and after `compile`."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd.models import changes, int8
from tests.builders import QUICKLY, gradients, numpy, randomise, small_model, tokens


def adapted(model):
    """Adapters of two ranks and another scale, with an effect."""
    block = model.denoiser.blocks[0]
    block.qkv.enable_lora(2, lora_alpha=6)
    block.mlp_in.enable_lora(3)
    model.denoiser.token_embedding.enable_lora(1)
    for i, layer in enumerate((block.qkv, block.mlp_in, model.denoiser.token_embedding)):
        for variable in layer.trainable_variables:
            randomise_one(variable, i)


def randomise_one(variable, seed):
    variable.assign(np.random.default_rng(seed).normal(size=variable.shape) * 0.3)


def quantized(model):
    model.quantize("int8", filters="^(?!.*head)")  # all but the head


def half_frozen(model):
    model.denoiser.blocks[0].trainable = False
    model.denoiser.blocks[0].mlp_in.trainable = True
    model.denoiser.head.kernel.trainable = False


KINDS = {
    "adapters": [adapted],
    "int8": [quantized],
    "frozen": [half_frozen],
    "int8 with adapters": [quantized, adapted, half_frozen],
    "adapters as int8": [adapted, quantized],
}


def changed(kind, **kwargs):
    model = randomise(small_model(**kwargs))
    for change in KINDS[kind]:
        change(model)
    return model


def logits(model):
    z, t = np.array([[0, 3, 1, 3, 2], [3, 3, 3, 3, 3]]), np.array([0.3, 0.9], "float32")
    return numpy(model.logits(z, t, seed=3))


def names(variables):
    return [v.path.split("/")[-1] for v in variables]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_files_are_as_the_model_is(kind, tmp_path):
    model = changed(kind)
    wanted = logits(model)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    kd.presets.save_to_preset(model, tmp_path / "exact", dtype="float32")
    others = {
        "copy": model.copy(),
        "file": keras.saving.load_model(tmp_path / "model.keras"),
        "preset": kd.from_preset(tmp_path / "exact"),
    }
    for name, other in others.items():
        for a, b in zip(model.weights, other.weights, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=f"{name}: {a.path}")
        np.testing.assert_array_equal(logits(other), wanted)
        assert names(other.trainable_variables) == names(model.trainable_variables)
        flags = [[layer.trainable for layer in changes.layers_of(m)] for m in (model, other)]
        assert flags[0] == flags[1]
        assert not {id(v) for v in model.weights} & {id(v) for v in other.weights}
    np.testing.assert_allclose(logits(kd.from_preset(tmp_path / "preset")), wanted, atol=0.1)
    np.testing.assert_array_equal(logits(model), wanted)  # saving leaves it as it was


def test_a_student_with_adapters_keeps_its_noise(tmp_path):
    model = changed("adapters").copy(noise="gaussian")
    assert model.capabilities.noise_layer.project.kernel.trainable
    randomise(model.capabilities.noise_layer)
    kd.presets.save_to_preset(model, tmp_path, dtype="float32")
    np.testing.assert_array_equal(logits(kd.from_preset(tmp_path)), logits(model))


def test_weights_files_hold_the_factors_of_adapters(tmp_path):
    """Keras's hold kernels into which adapters are merged, and load zeros for both factors."""
    model, other = changed("adapters"), changed("adapters")
    randomise(other, seed=9)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=a.path)
    plain = small_model()
    plain.save_weights(tmp_path / "plain.weights.h5")
    with pytest.raises(ValueError, match="has an adapter and"):
        other.load_weights(tmp_path / "plain.weights.h5")
    # What Keras itself writes of a layer stays what Keras reads.
    store = {}
    model.denoiser.blocks[0].qkv.save_own_variables(store)
    np.testing.assert_allclose(numpy(store["0"]), numpy(model.denoiser.blocks[0].qkv.kernel), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_does_the_same(kind):
    model = changed(kind)
    plain = model.merged()
    assert all("lora" not in v.path and v.dtype == "float32" for v in plain.weights)
    assert names(plain.weights) == names(small_model().weights)
    assert len(plain.trainable_variables) == len(plain.weights)
    if "int8" not in kind:  # there Keras rounds activations, too
        np.testing.assert_allclose(logits(plain), logits(model), atol=1e-5)
    kernel, qkv = numpy(plain.denoiser.blocks[0].qkv.kernel), model.denoiser.blocks[0].qkv
    expected = np.float64(numpy(qkv._kernel))
    if "int8" in kind:
        expected = expected / np.float64(numpy(qkv.kernel_scale))
    if "adapters" in kind:
        factors = (np.float64(numpy(x)) for x in (qkv.lora_kernel_a, qkv.lora_kernel_b))
        expected = expected + 3.0 * np.matmul(*factors)
    np.testing.assert_allclose(kernel, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.long_compilation
def test_integers_are_made_floats_of_every_layout():
    """Of `Dense` and `Embedding` here; `EinsumDense` and a table in two directions below."""
    before = randomise(small_model())
    model = before.copy()
    model.quantize("int8")
    pairs = [(before, model.merged())]
    inputs = keras.Input((4, 6))
    x = keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3), name="split")(inputs)
    x = keras.layers.EinsumDense("abde,dec->abc", (None, 6), name="join")(x)
    pairs.append(requantized(keras.Model(inputs, x)))
    table = keras.layers.ReversibleEmbedding(7, 5, tie_weights=False)
    ids = keras.Input((4,), dtype="int32")
    pairs.append(requantized(keras.Model(ids, table(table(ids), reverse=True))))
    for floats, back in pairs:
        for a, b in zip(floats.weights, back.weights, strict=True):
            # Rounded to the nearest of 127 steps up to the largest weight.
            step = np.abs(numpy(a)).max() / 127
            np.testing.assert_allclose(numpy(b), numpy(a), atol=0.51 * step, err_msg=a.path)


def requantized(model):
    """A Keras model, and one that was made of its integers."""
    from keras_dmmd.models.merging import assign_merged

    randomise(model)
    source, target = keras.models.clone_model(model), keras.models.clone_model(model)
    source.set_weights(model.get_weights())
    source.quantize("int8")
    for one, other in zip(changes.layers_of(source), changes.layers_of(target), strict=True):
        assign_merged(one, other)
    return model, target


@pytest.mark.long_compilation
@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_a_table_of_integers_lets_gradients_through(tie_weights, cap):
    table = keras.layers.ReversibleEmbedding(7, 5, tie_weights=tie_weights, logit_soft_cap=cap)
    table.build()
    randomise(table)
    weights = np.float64(numpy(table._embeddings) if tie_weights else numpy(table.reverse_embeddings).T)
    table.quantize("int8")
    x = np.random.default_rng(1).normal(size=(3, 5)).astype("float32")
    before = numpy(table(x, reverse=True))
    int8.differentiable(table)
    np.testing.assert_array_equal(numpy(table(x, reverse=True)), before)
    upstream = np.random.default_rng(2).normal(size=(3, 7)).astype("float32")
    (gradient,) = gradients(lambda v: table(v, reverse=True) * ops.convert_to_tensor(upstream), x)
    slope = 1.0 if cap is None else 1.0 - np.tanh(x @ weights.T / cap) ** 2
    np.testing.assert_allclose(numpy(gradient), (upstream * slope) @ weights, atol=0.03)


def test_what_generate_compiled_is_of_the_network_as_it_is():
    """Adapters and integers that came since are not passed over."""
    model = randomise(small_model())
    options = {"n": 8, "steps": 3, "seed": 1, "jit_compile": False}
    first = model.generate(**options)
    adapted(model)
    second = model.generate(**options)
    quantized(model)
    assert (first != second).any()
    np.testing.assert_array_equal(model.generate(**options), model.copy().generate(**options))
    fresh = randomise(small_model())
    adapted(fresh)
    np.testing.assert_array_equal(fresh.generate(**options), second)


def test_adapters_alone_are_trained_and_go_on(tmp_path):
    model = randomise(small_model(noise="gaussian"))
    before = {id(v): numpy(v) for v in model.weights}
    start = logits(model)
    model.enable_lora(2)
    np.testing.assert_array_equal(logits(model), start)
    trained = {v.path.split("/")[-1] for v in model.trainable_variables if id(v) not in before}
    assert trained == {"lora_kernel_a", "lora_kernel_b"}
    assert [v for v in model.trainable_variables if id(v) in before] == [
        model.denoiser.noise.project.kernel
    ]
    model.compile(keras.optimizers.Adam(1e-2, use_ema=True), **QUICKLY)
    model.fit(tokens(), verbose=0)
    assert np.abs(logits(model) - start).max() > 1e-3
    for variable in model.weights:
        if id(variable) in before and not variable.trainable:
            np.testing.assert_array_equal(numpy(variable), before[id(variable)], err_msg=variable.path)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(tokens(), shuffle=False, verbose=0)
    same_state(model, loaded)


def same_state(model, other):
    for a, b in zip(
        [*model.variables, *model.optimizer.variables],
        [*other.variables, *other.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(numpy(a), numpy(b), err_msg=a.path)


def test_ranks_and_layers():
    model = small_model()
    model.enable_lora(100, target_layer_names=["head", "qkv"])
    assert model.denoiser.head.lora_rank == 3  # of 16 × 3
    assert model.denoiser.blocks[0].qkv.lora_rank == 16
    assert len(model.trainable_variables) == 4
    with pytest.raises(ValueError, match="'qkv' has an adapter of rank 16 already, not of 2"):
        model.enable_lora(2)
    with pytest.raises(ValueError, match=r"target_layer_names=\['query'\].*'mlp_in'"):
        small_model().enable_lora(2, target_layer_names=["query"])
    for rank in (0, 2.5, True):
        with pytest.raises(ValueError, match="`rank` must be an integer"):
            small_model().enable_lora(rank)


def test_changes_of_another_network_are_refused():
    config = changed("int8 with adapters").get_config()
    for wrong, message in (
        ({"999": {"lora_rank": 2, "lora_alpha": 2}}, "none of the numbers"),
        ({"0": {"lora_rank": 2, "lora_alpha": 2}}, "layer 0 of this one is a DiffusionModel"),
    ):
        with pytest.raises(ValueError, match=message):
            kd.DiffusionModel.from_config({**config, "changes": wrong})


# What is trained, and what was compiled ---------------------------------------------------------------


def test_a_frozen_layer_stays_frozen_and_its_optimizer_goes_on(tmp_path):
    model = changed("frozen")
    model.compile("adam", **QUICKLY)
    model.fit(tokens(), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(tokens(), shuffle=False, verbose=0)
    same_state(model, loaded)


def test_training_after_a_change_needs_another_compile():
    model = small_model()
    for change in (half_frozen, adapted):
        model.compile("adam")
        model.optimizer.build(model.trainable_variables)  # as `fit` does
        change(model)
        with pytest.raises(ValueError, match="not the .* that it was compiled for.*Compile it again"):
            model.fit(tokens(), verbose=0)
        with pytest.raises(ValueError, match="Compile it again"):
            model.train_on_batch(tokens(8))
    model.trainable = False
    model.compile("adam")
    with pytest.raises(ValueError, match="All weights of this DiffusionModel are frozen"):
        model.fit(tokens(), verbose=0)


def test_what_keras_compiled_is_of_the_network_as_it_is():
    model = randomise(small_model())
    model.compile()
    before = model.evaluate(tokens(8), verbose=0)
    adapted(model)
    after = model.evaluate(tokens(8), verbose=0)
    model.compile()
    assert after == model.evaluate(tokens(8), verbose=0) != before


def test_optimizers_have_public_names_in_files(tmp_path):
    model = small_model()
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.125)))
    model.save(tmp_path / "model.keras")
    distiller = kd.DMMDDistiller(model, steps=2)
    distiller.compile()
    distiller.save(tmp_path / "distiller.keras")
    for name in ("model", "distiller"):
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
            config = json.loads(file.read("config.json"))
        assert "keras.src.backend" not in json.dumps(config["compile_config"])
    optimizer = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert isinstance(optimizer.inner_optimizer, keras.optimizers.Adam)
    assert float(optimizer.inner_optimizer.learning_rate.numpy()) == 0.125


def test_a_file_of_torch_trains_on_any_backend():
    """As `compile` wrote it there before: the class of one backend."""
    model, inner = small_model(), keras.optimizers.serialize(keras.optimizers.Adam(0.125))
    inner |= {"module": "keras.src.backend.torch.optimizers.torch_adam", "registered_name": "Adam"}
    model.compile_from_config({"optimizer": inner, **QUICKLY})
    assert type(model.optimizer) is type(keras.optimizers.Adam())
    model.fit(tokens(), verbose=0)
