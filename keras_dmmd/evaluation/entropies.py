"""How sure a sampler's predictions are, from its first network call to its last."""

from keras_dmmd.evaluation.checks import check_models


def step_entropies(model, steps, samples=256, seed=0, **generate):
    """Entropy of a model's prediction of an open token at every call, a list of nats.

    A student's is lower the fewer its steps: that is how tokens which are drawn apart agree.

    Args:
        model: a built `DiffusionModel`.
        steps: network calls per sample.
        samples, seed: over which the mean is taken.
        **generate: further arguments of `DiffusionModel.generate`.

    Example:

    ```python
    student = kd.from_preset("digits_masked_student")
    kd.evaluation.step_entropies(student, steps=4, samples=64)  # nats, one number per call
    ```
    """
    check_models({"model": model})
    generate = {"verbose": 0, **generate}
    _, entropies = model.generate(samples, steps=steps, seed=seed, return_entropies=True, **generate)
    return [float(entropy) for entropy in entropies]
