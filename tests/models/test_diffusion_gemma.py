"""DiffusionGemma as a denoiser: against float64 numpy, against KerasHub's own model, the whole way.

Where keras-hub-nightly is installed in place of keras-hub, all of it is about KerasHub's class itself.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend
from tests.builders import ON_TORCH, QUICKLY, numpy

keras_hub = pytest.importorskip("keras_hub")

from keras_dmmd.models.diffusion_gemma import DiffusionGemmaDenoiser  # noqa: E402
from tests.oracles.diffusion_gemma import Oracle  # noqa: E402
from tests.oracles.gemma_stand_in import CONFIG, StandIn, StandInLM  # noqa: E402

K, SIZE, LENGTH = CONFIG["vocabulary_size"], 4, 12
EXPERTS = {"enable_moe_block": True, "num_experts": 4, "expert_intermediate_dim": 6}
RELEASED = hasattr(keras_hub.models, "DiffusionGemmaBackbone")
RNG = np.random.default_rng(0)
X, Z = RNG.integers(0, K, (2, 2, LENGTH)).astype("int32")
SHOWN = RNG.dirichlet(np.ones(K), (2, LENGTH)).astype("float32")
SHOWN[1, :SIZE] = 0.0  # no prediction
T = np.float32([0.3, 0.9])
BLOCKS = [slice(start, start + SIZE) for start in range(0, LENGTH, SIZE)]


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """KerasHub's classes, and where a release has none a stand-in of the parts that it has."""
    if not RELEASED:
        monkeypatch.setattr(keras_hub.models, "DiffusionGemmaBackbone", StandIn, raising=False)
        monkeypatch.setattr(
            keras_hub.models, "DiffusionGemmaBlockDiffusionLM", StandInLM, raising=False
        )


def gemma(**options):
    model = keras_hub.models.DiffusionGemmaBackbone(**CONFIG | options)
    rng = np.random.default_rng(0)
    # Scales are near 1; larger numbers magnify what float32 rounds, each processor in its own way.
    for variable in model.weights:
        variable.assign(0.3 * rng.normal(size=variable.shape) + ("scal" in variable.path))
    return model


def make(model=None, **kwargs):
    return DiffusionGemmaDenoiser(gemma() if model is None else model, SIZE, **kwargs)


def canvases(denoiser):
    """Logits block after block, each beside a cache of those before it."""
    cache, found = denoiser.empty_cache(2, LENGTH), []
    call = compiled(denoiser, lambda *told: denoiser(*told[:2], cache=told[2], **told[3]))
    extend = compiled(denoiser, denoiser.extend)
    for here in BLOCKS:
        start = ops.convert_to_tensor(here.start, "int32")
        told = {"start": start, "prediction": ops.convert_to_tensor(SHOWN[:, here])}
        found.append(call(ops.convert_to_tensor(Z[:, here]), ops.convert_to_tensor(T), cache, told))
        cache = extend(cache, ops.convert_to_tensor(X[:, here]), start)
    return np.concatenate([numpy(logits) for logits in found], axis=1)


def compiled(denoiser, function):
    """In one piece: op by op takes far longer on JAX and TensorFlow."""
    return backend.compile_inference(function, denoiser.variables, keras.backend.backend() == "jax")


def oracle(model, weights=None, prediction=None):
    """The same, by numpy."""
    if weights is None:
        weights = {v.path: numpy(v) for v in model.weights}
    exact = Oracle(weights, model.get_config())
    return np.stack(
        [
            np.concatenate(
                [
                    exact.logits(
                        X[row, : here.start],
                        Z[row, here],
                        None if prediction is None else np.float64(prediction[row, here]),
                    )
                    for here in BLOCKS
                ]
            )
            for row in range(2)
        ]
    )


@pytest.mark.parametrize("experts", [{}, pytest.param(EXPERTS, marks=ON_TORCH)], ids=["dense", "moe"])
def test_logits_are_those_of_float64(experts):
    """Of all blocks at once and of one after the other, with a prediction and without."""
    model = gemma(**experts)
    denoiser = make(model)
    exact = oracle(model, prediction=SHOWN)
    assert 0.5 < np.abs(exact).max() < 3.0
    call = compiled(denoiser, lambda z, t, x, shown: denoiser(z, t, context=x, prediction=shown))
    at_once = call(*(ops.convert_to_tensor(value) for value in (Z, T, X, SHOWN)))
    np.testing.assert_allclose(numpy(at_once), exact, atol=1e-5)
    np.testing.assert_allclose(canvases(denoiser), exact, atol=1e-5)


@pytest.mark.skipif(not RELEASED, reason="this KerasHub has no DiffusionGemma: the nightly one has")
@pytest.mark.parametrize("experts", [{}, EXPERTS], ids=["dense", "moe"])
def test_logits_are_those_of_keras_hub(experts):
    """A prompt of a block, then canvas after canvas, each a first call and one that is shown that."""
    own = keras_hub.models.DiffusionGemmaBlockDiffusionLM(None, gemma(**experts), canvas_length=SIZE)
    denoiser = DiffusionGemmaDenoiser(own)
    assert denoiser.block_size == SIZE
    cache, theirs = denoiser.empty_cache(2, LENGTH), None
    for here in BLOCKS:
        start = ops.convert_to_tensor(here.start, "int32")
        if theirs is not None:
            canvas, told, last = ops.convert_to_tensor(Z[:, here]), None, None
            for _ in range(2):
                mask = np.broadcast_to(np.arange(LENGTH) < here.start, (2, LENGTH))
                last = own._forward_step(
                    canvas, theirs, here.start, last, 1.0, ops.convert_to_tensor(mask), True
                )
                logits = denoiser(canvas, T, cache=cache, start=start, prediction=told)
                np.testing.assert_allclose(numpy(logits), numpy(last), atol=1e-5)
                told = ops.softmax(logits)
        tokens = ops.convert_to_tensor(X[:, here])
        cache = denoiser.extend(cache, tokens, start)
        if theirs is None:
            theirs, _ = own._encode_prompt({"token_ids": tokens})
            theirs = own._pad_encoder_cache(theirs, 0, LENGTH)
        else:
            theirs = own._encode_canvas_as_context(tokens, theirs, here.start)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="compiles for long, op by op")
def test_gradients_are_those_of_float64():
    """Along a random direction in all weights, by differences of the oracle."""
    model = gemma(**EXPERTS)
    denoiser, rng = make(model, cond_dim=None), np.random.default_rng(3)
    upstream = rng.normal(size=(2, LENGTH, K))
    weights = {v.path: numpy(v).astype("float64") for v in model.weights}
    variables = model.trainable_variables
    directions = {v.path: rng.normal(size=v.shape) for v in variables}

    def loss(step):
        moved = {path: w + step * directions.get(path, 0.0) for path, w in weights.items()}
        return (oracle(model, moved, SHOWN) * upstream).sum()

    def function():
        logits = denoiser(Z, T, context=X, prediction=SHOWN)
        return ops.sum(logits * ops.convert_to_tensor(upstream, "float32")), None

    _, found = backend.value_and_grad(function, variables)
    found = {v.path: numpy(g).astype("float64") for g, v in zip(found, variables, strict=True)}
    slope = sum((found[path] * direction).sum() for path, direction in directions.items())
    size = sum((g * g).sum() for g in found.values()) ** 0.5  # as large as a slope is
    np.testing.assert_allclose(slope, (loss(1e-5) - loss(-1e-5)) / 2e-5, atol=1e-4 * size)
    assert all(np.abs(g).max() > 0 for g in found.values())


@ON_TORCH
def test_what_is_added_is_nothing_at_first_and_counts_later():
    model = gemma()
    plain, denoiser = make(model, cond_dim=None), make(model, prompts=True, noise="gaussian")
    known = np.arange(LENGTH) < np.array([[3], [9]])
    noise = denoiser.sample_noise(2, LENGTH, 5)
    told = {"context": X, "known": known, "noise": noise, "prediction": SHOWN}
    before = numpy(plain(Z, T, context=X, prediction=SHOWN))
    np.testing.assert_allclose(numpy(denoiser(Z, T, **told)), before, atol=1e-6)
    added = [denoiser.time_projection, denoiser.known_embedding, denoiser.noise]
    for layer in added:
        for variable in layer.trainable_variables:
            old = numpy(variable).copy()
            variable.assign_add(np.full(old.shape, 0.1, "float32"))
            assert np.abs(numpy(denoiser(Z, T, **told)) - before).max() > 1e-3, variable.path
            variable.assign(old)


@ON_TORCH
def test_integers():
    """All of the network's products are those of rounded weights, at once and block after block."""
    teacher = kd.DiffusionModel(make(gemma(**EXPERTS)), kd.UniformDiffusion(K), length=LENGTH)
    rounded = teacher.copy()
    rounded.quantize("int8")
    logits = [numpy(m.denoiser(Z, T, context=X, prediction=SHOWN)) for m in (teacher, rounded)]
    assert 0.99 < np.corrcoef(logits[0].ravel(), logits[1].ravel())[0, 1] < 1.0
    np.testing.assert_allclose(canvases(rounded.denoiser), logits[1], atol=1e-5)


@ON_TORCH
def test_the_whole_way(tmp_path):
    """A teacher that is trained further, a round of distillation, a student's samples, files."""
    denoiser = make(cond_dim=8)
    teacher = kd.DiffusionModel(denoiser, kd.UniformDiffusion(K), length=LENGTH)
    rows = np.tile(X, (4, 1))
    teacher.compile(keras.optimizers.Adam(1e-3), **QUICKLY)
    teacher.fit(rows, batch_size=8, verbose=0)
    distiller = kd.DMMDDistiller(teacher, steps=2)
    distiller.compile(**QUICKLY)
    before = [w.copy() for w in distiller.student.get_weights()]
    logs = distiller.fit(rows, batch_size=8, verbose=0).history
    assert np.isfinite([v for values in logs.values() for v in values]).all()
    student = distiller.student
    assert student.denoiser.model is not denoiser.model and student.capabilities.self_conditioning
    moved = [(a != b).any() for a, b in zip(before, student.get_weights(), strict=True)]
    assert np.mean(moved) > 0.8
    prompts = X[:, : SIZE + 1].tolist()  # a block, and a token of the next
    draws, calls = student.generate(prompts=prompts, seed=1, return_calls=True)
    assert draws.shape == (2, LENGTH) and (draws[:, : SIZE + 1] == prompts).all()
    assert (calls == 4).all()
    student.save(tmp_path / "student.keras")
    student.save_to_preset(tmp_path / "preset")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded.generate(prompts=prompts, seed=1), draws)
    preset = kd.from_preset(tmp_path / "preset")
    assert preset.denoiser.get_config() == student.denoiser.get_config()


@ON_TORCH
def test_weights_are_shared_or_copied():
    model = gemma()
    shared, copy = make(model), make(model, share=False)
    before = numpy(copy(Z, T, context=X))
    model.token_embedding.embeddings.assign_add(np.ones((K, 8)))
    np.testing.assert_array_equal(numpy(copy(Z, T, context=X)), before)
    assert np.abs(numpy(shared(Z, T, context=X)) - before).max() > 0.01


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: make(keras.layers.Dense(3)), "`model` must be a keras_hub DiffusionGemmaBackbone"),
        (lambda: make(gemma(use_bidirectional_attention=True)), "causally"),
        (lambda: make()(Z, T), "12 tokens are 3 blocks of 4: pass the clean tokens"),
        (lambda: make()(Z[:, :6], T, context=X[:, :6]), "whole blocks of 4 tokens. Received: 6"),
        (lambda: make()(Z, T, context=X, known=Z > 3), "`prompts=True`"),
        (
            lambda: make(self_conditioning=False)(Z, T, context=X, prediction=SHOWN),
            "`self_conditioning=False`",
        ),
        (lambda: kd.DiffusionModel(make(), kd.MaskedDiffusion(K)), "must fit `process`"),
    ],
)
def test_what_cannot_be(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


@pytest.mark.plain
def test_a_release_without_the_class(monkeypatch):
    model = gemma()
    monkeypatch.delattr(keras_hub.models, "DiffusionGemmaBackbone")
    with pytest.raises(ImportError, match="has no DiffusionGemma.*keras-hub-nightly"):
        make(model)
