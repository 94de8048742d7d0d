"""The D-MMD step of masked images, by hand in JAX, to measure `DMMDDistiller` against."""

import jax
import jax.numpy as jnp
import keras

LEARNING_RATE, DECAY, BETA_2, EPSILON, CLIP, EMA = 1e-3, 1e-3, 0.99, 1e-7, 1.0, 0.995
MAX_LOG_RATIO = 3.0
FIRST_TIME = 1e-4


def make_step(distiller):
    """`step(state, x) -> losses, state`, jitted with `state` donated, and its first state."""
    mask, k = distiller.process.mask_id, distiller.steps
    student, critic, teacher = (
        m.denoiser for m in (distiller.student, distiller.critic, distiller.teacher)
    )

    def apply(denoiser, weights, z, t, **noise):
        with keras.StatelessScope(state_mapping=zip(denoiser.weights, weights, strict=True)):
            return jax.nn.log_softmax(denoiser(z, t, **noise))

    def draw(weights, x, key):
        keys = jax.random.split(key, 6)
        n, length = x.shape
        u = (jnp.arange(n) / n + jax.random.uniform(keys[0])) % 1.0
        s = FIRST_TIME + (1.0 - FIRST_TIME) * u
        t = jnp.minimum(s + jax.random.uniform(keys[1], (n,)) / k, 1.0)
        z_t = jnp.where(jax.random.uniform(keys[2], x.shape) < 1.0 - t[:, None], x, mask)
        noise = jax.random.randint(keys[3], x.shape, 0, student.noise.symbols)
        log_probs = apply(student, weights, z_t, t, noise=noise)
        x = jnp.where(z_t == mask, jax.random.categorical(keys[4], log_probs), z_t)
        reveal = jax.random.uniform(keys[5], x.shape) >= (s / t)[:, None]
        return log_probs, x, jnp.where((z_t == mask) & reveal, x, z_t), s

    def masked_mean(values, z_s):
        return jnp.mean(values * (z_s == mask))

    def critic_loss(weights, state, x, key):
        _, x, z_s, s = jax.lax.stop_gradient(draw(state["student"], x, key))
        log_critic = apply(critic, weights, z_s, s)
        return masked_mean(-jnp.take_along_axis(log_critic, x[..., None], axis=-1)[..., 0], z_s)

    def student_loss(weights, state, x, key):
        log_probs, x, z_s, s = draw(weights, x, key)
        advantage = apply(critic, state["critic"], z_s, s) - apply(teacher, state["teacher"], z_s, s)
        advantage = jnp.clip(jax.lax.stop_gradient(advantage), -MAX_LOG_RATIO, MAX_LOG_RATIO)
        return masked_mean(jnp.sum(jnp.exp(log_probs) * advantage, axis=-1), z_s)

    def adam(weights, second, gradients, count):
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in gradients))
        gradients = [g * jnp.minimum(1.0, CLIP / (norm + 1e-12)) for g in gradients]
        second = [BETA_2 * v + (1 - BETA_2) * g * g for v, g in zip(second, gradients, strict=True)]
        scale = LEARNING_RATE / (1 + DECAY * count) * jnp.sqrt(1 - BETA_2**count)
        weights = [
            w - scale * g / (jnp.sqrt(v) + EPSILON)
            for w, g, v in zip(weights, gradients, second, strict=True)
        ]
        return weights, second

    def step(state, x):
        state = dict(state)
        state["key"], critic_key, student_key = jax.random.split(state["key"], 3)
        state["count"] = state["count"] + 1
        count = state["count"].astype("float32")
        losses = {}
        for role, loss, key in (
            ("critic", critic_loss, critic_key),
            ("student", student_loss, student_key),
        ):
            losses[f"{role}_loss"], gradients = jax.value_and_grad(loss)(state[role], state, x, key)
            state[role], state[f"{role}_second"] = adam(
                state[role], state[f"{role}_second"], gradients, count
            )
        state["ema"] = [
            EMA * e + (1 - EMA) * w for e, w in zip(state["ema"], state["student"], strict=True)
        ]
        return losses, state

    def values(denoiser):
        return [jnp.copy(v.value) for v in denoiser.weights]

    state = {
        "student": values(student),
        "critic": values(critic),
        "teacher": values(teacher),
        "ema": values(student),
        "student_second": [jnp.zeros_like(v.value) for v in student.weights],
        "critic_second": [jnp.zeros_like(v.value) for v in critic.weights],
        "count": jnp.zeros((), "int32"),
        "key": jax.random.key(0),
    }
    return jax.jit(step, donate_argnums=0), state
