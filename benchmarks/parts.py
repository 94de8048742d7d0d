"""A D-MMD step of the digits' size, and its parts compiled one by one: for speed.py and memory.py."""

import keras
import numpy as np
from keras import ops

import keras_dmmd as kd
from keras_dmmd import backend, random

VOCABULARY, GRID = 17, (8, 8)
PROCESSES = {"masked": kd.MaskedDiffusion, "uniform": kd.UniformDiffusion}


def build_distiller(process="masked", hidden=96, layers=4, steps=8, seed=0, remat=False):
    """Teacher, student and critic of the digits' size; weights that start at zero made random."""
    process = PROCESSES[process](VOCABULARY)
    denoiser = kd.Denoiser(
        VOCABULARY,
        num_states=process.num_states,
        grid=GRID,
        hidden_dim=hidden,
        num_layers=layers,
        num_heads=4,
        mlp_dim=2 * hidden,
        remat=remat,
    )
    teacher = kd.DiffusionModel(denoiser, process, length=GRID[0] * GRID[1])
    draws = np.random.RandomState(seed)
    for variable in denoiser.weights:
        if not ops.convert_to_numpy(variable).any():
            variable.assign(0.02 * draws.normal(size=variable.shape))
    distiller = kd.DMMDDistiller(teacher, steps=steps, critic_steps=1, seed=seed)
    distiller.compile()
    return distiller


def batch(size, seed=0):
    """Ids, as a tensor on the device."""
    tokens = np.random.RandomState(seed).randint(0, VOCABULARY, (size, GRID[0] * GRID[1]))
    return ops.convert_to_tensor(tokens.astype("int32"))


def stepper(model, x):
    """A function that runs one compiled train step on `x`, as `fit` does, and returns its logs."""
    model.make_train_function()
    name = keras.backend.backend()
    if name == "torch":
        return lambda: model.train_function([(x,)])
    if name == "tensorflow":
        return lambda: model.train_function(iter([(x,)]))
    state = jax_state(model)

    def step():
        nonlocal state
        logs, state = model.train_function(state, iter([(x,)]))
        return logs

    return step


def groups_of(model):
    """The variables of JAX's `train_step`, in the groups that it takes."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def jax_state(model):
    """A copy of all that `train_step` takes: the step donates it."""
    import jax.numpy as jnp

    return tuple([jnp.copy(v.value) for v in group] for group in groups_of(model))


def lower_train(model, x, **options):
    """The compiled train step, before XLA has made it; `options` are of `jax.jit`."""
    import jax

    state = tuple([v.value for v in group] for group in groups_of(model))
    return jax.jit(model.train_step, donate_argnums=0, **options).lower(state, (x,))


def temporaries(lowered):
    """Bytes that XLA plans beside arguments and results."""
    return lowered.compile().memory_analysis().temp_size_in_bytes


class Update(backend.StatefulTrainStep, keras.Model):
    """Forward pass, cross-entropy, backward pass and optimizer of one network, and nothing else."""

    def __init__(self, model, optimizer):
        super().__init__()
        self.model = model
        self.seed_generator = keras.random.SeedGenerator(0)
        self.built = True
        self.compile(optimizer=optimizer)
        self.optimizer.build(self.trainable_variables)

    def update(self, data):
        (x,) = data
        t = ops.full((ops.shape(x)[0],), 0.5)
        key = random.as_key(self.seed_generator)

        def loss():
            log_probs = ops.log_softmax(self.model.logits(x, t, seed=key), axis=-1)
            picked = ops.take_along_axis(log_probs, ops.expand_dims(x, -1), axis=-1)
            return -ops.mean(picked), {}

        (value, _), gradients = backend.value_and_grad(loss, self.trainable_variables)
        backend.apply_gradients(self.optimizer, gradients, self.trainable_variables)
        return {"loss": value}


def forward(model, x, jit_compile):
    """A function that runs one compiled forward pass of `model` on `x`."""
    t = ops.full((x.shape[0],), 0.5)
    key = random.as_key(0)
    function = backend.compile_inference(
        lambda z, t, key: model.logits(z, t, seed=key), model.variables, jit_compile
    )
    return lambda: function(x, t, key)


def chained_forward(model, x, jit_compile):
    """The same, for passes that wait for each other as a sampler's do, by an argument of the last.

    Returns a function of times, or `None` for the first, that returns logits and the next times.
    """
    start = ops.full((x.shape[0],), 0.5)
    key = random.as_key(0)

    def one(z, t, key):
        logits = model.logits(z, t, seed=key)
        return logits, t + 0.0 * logits[:, 0, 0]

    function = backend.compile_inference(one, model.variables, jit_compile)
    return lambda t: function(x, start if t is None else t, key)


def updates(distiller):
    """The two parts that learn, by name."""
    return {
        f"{role} forward, backward, Adam": Update(
            getattr(distiller, role), distiller.default_optimizer(role)
        )
        for role in ("critic", "student")
    }


def step_parts(distiller, x):
    """What one step cannot do without, each compiled alone: `{name: function}`."""
    jit = bool(distiller.jit_compile)
    teacher = forward(distiller.teacher, x, jit)
    learned = {name: stepper(model, x) for name, model in updates(distiller).items()}
    pull = {"critic update: teacher forward": teacher} if distiller.teacher_weight else {}
    return {
        "critic update: student forward": forward(distiller.student, x, jit),
        **pull,
        "critic update: critic forward, backward, Adam": learned["critic forward, backward, Adam"],
        "student update: student forward, backward, Adam": learned["student forward, backward, Adam"],
        "student update: teacher forward": teacher,
        "student update: critic forward": forward(distiller.critic, x, jit),
    }
