"""How sure a sampler's predictions are, from its first network call to its last."""

from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.distillation.dmmd import entropies, mean_where
from keras_dmmd.sampling.sampler import time_grid


def step_entropies(model, steps, samples=256, seed=0, **generate):
    """Entropy of a model's prediction of an open token at every step, nats, `(steps,)`.

    A student's is lower the fewer its steps: that is how tokens which are drawn apart agree.

    Args:
        model: a built `DiffusionModel` of whole sequences, without self-conditioning.
        steps: network calls a sample.
        samples, seed: over which the mean is taken.
        **generate: `length`, `temperature`, `top_p` of `DiffusionModel.generate`: how the sequences are
            made in which the entropy is read.
    """
    return StepEntropies(model)(steps, samples, seed, **generate)


class StepEntropies:
    """`step_entropies` of one model, compiled once for any number of steps."""

    def __init__(self, model):
        self.model = model
        self._entropy = backend.compile_inference(self._of_step, model.variables, backend.COMPILES)

    def _of_step(self, z_t, t, key):
        t = ops.broadcast_to(t, (ops.shape(z_t)[0],))
        log_probs = self.model.process.log_mean(self.model.logits(z_t, t, seed=key), z_t, t)
        return mean_where(self.model.process.is_open(z_t), entropies(log_probs))

    def __call__(self, steps, samples=256, seed=0, **generate):
        if not self.applies(generate):
            raise ValueError(
                "Entropies by step are those of whole sequences that nothing else is told of. "
                f"Received: block_size={self.model.block_size}, "
                f"self_conditioning={self.model.self_conditioning}, {generate}"
            )
        generate = {k: v for k, v in generate.items() if k not in ("batch_size", "verbose")}
        path = self.model.generate(
            samples, steps=steps, seed=seed, trajectory=True, verbose=0, batch_size=samples, **generate
        )
        keys = random.split(random.as_key(seed + 1), steps)
        return [
            float(ops.convert_to_numpy(self._entropy(*map(ops.convert_to_tensor, (z, t)), key)))
            for z, t, key in zip(path[:-1], time_grid(steps)[:-1], keys, strict=True)
        ]

    def applies(self, generate):
        """Whether the network needs to be told of nothing but tokens and time."""
        told = set(generate) - {"length", "temperature", "top_p", "batch_size", "verbose"}
        return not (self.model.block_size or self.model.self_conditioning or told)
