"""Look at a model while it trains; go on after a kill."""

import csv
import inspect
import itertools
import os

import keras
import numpy as np

from keras_dmmd import backend, checks
from keras_dmmd.distillation.distiller import Distiller
from keras_dmmd.files import replacing
from keras_dmmd.metrics import StreamingMetric
from keras_dmmd.metrics.streaming import measure_by
from keras_dmmd.optional import package
from keras_dmmd.sampling.prompts import has_text
from keras_dmmd.training.backup import BackupAndResume as BackupAndResume
from keras_dmmd.training.diffusion_model import DiffusionModel

# Arguments of `generate` that are the callback's own, or change what is returned.
NOT_HERE = {"self", "n", "trajectory", "return_calls", "return_entropies", "verbose"}


class SampleAndScore(keras.callbacks.Callback):
    """Draw samples after an epoch, ask metrics, and put their figures among the epoch's logs.

    What stands in the logs can be monitored by the callbacks that come after this one in the list:
    `keras.callbacks.EarlyStopping("frechet_distance", mode="min", restore_best_weights=True)` stops at
    the best and goes back to it, `CSVLogger` and `TensorBoard` write it down, and `History` has it. (A
    `CSVLogger` fixes its columns in the first epoch, so leave `every` at 1 beside it.) To measure an
    EMA of the weights put `keras.callbacks.SwapEMAWeights(swap_on_epoch=True)` before this one.

    Args:
        metrics: a list of `keras_dmmd.metrics.StreamingMetric`s, as for `keras_dmmd.evaluate`.
        steps: network calls per sample; by default the sampled model's own.
        samples: sequences to draw.
        every: epochs between two looks.
        seed: of the samples: the same after every epoch, so that looks compare.
        model: what is sampled; by default what is trained, or a distiller's student.
        reference_data: real ids `(n, length)`, given to every metric beside the samples.
        folder: where to write `samples_<epoch>.npy` and a line of figures in `scores.csv`, or in
            `scores_2.csv`, … where that has other columns; or `None`.
        tensorboard: a log directory for TensorBoard, where samples become images or text; needs the
            packages `tensorflow` and `tensorboard`. Or `None`.
        shown: samples that TensorBoard shows.
        channels: of images, whose tokens are then their values, channel innermost: 3 shows colours.
        **generate: further arguments of `DiffusionModel.generate`, with prompts as ids.

    Example:

    ```python
    (tokens, _), _ = kd.datasets.load_digits()
    model = kd.from_preset("digits_masked_teacher")
    model.compile()
    features = kd.ImageFeatures.from_preset("digits_features")
    look = kd.callbacks.SampleAndScore(
        [kd.metrics.FrechetDistance(features, tokens)], steps=4, samples=64
    )
    history = model.fit(tokens, epochs=2, callbacks=[look]).history
    history["frechet_distance"]  # one number per epoch
    ```
    """

    def __init__(
        self,
        metrics,
        steps=None,
        samples=256,
        every=1,
        seed=0,
        model=None,
        reference_data=None,
        folder=None,
        tensorboard=None,
        shown=16,
        channels=1,
        **generate,
    ):
        super().__init__()
        self.scores = checks.instances("metrics", metrics, StreamingMetric)
        self.steps = None if steps is None else checks.count("steps", steps)
        self.samples, self.every = checks.count("samples", samples), checks.count("every", every)
        if model is not None and not isinstance(model, DiffusionModel):
            raise ValueError(
                f"`model` must be a keras_dmmd.DiffusionModel. Received: {checks.shown(model)}"
            )
        if reference_data is not None:
            reference_data = checks.rows("reference_data", reference_data)
        known = set(inspect.signature(DiffusionModel.generate).parameters) - NOT_HERE
        unknown = sorted(set(generate) - known)
        if unknown:
            raise ValueError(
                "`DiffusionModel.generate` has no such arguments, or none for here. Received: "
                f"{unknown}"
            )
        prompts = generate.get("prompts")
        if isinstance(prompts, (list, tuple)) and any(map(has_text, prompts)):
            raise ValueError("`prompts` must be ids here: encode texts with the model's tokenizer.")
        self.seed = checks.integer("seed", seed)
        self.sampled, self.reference_data = model, reference_data
        self.folder = None if folder is None else checks.path("folder", folder)
        self.shown, self.channels = checks.count("shown", shown), checks.count("channels", channels)
        self.generate = generate
        self._writer = None
        if tensorboard is not None:
            tensorboard = checks.path("tensorboard", tensorboard)
            package("tensorboard", "SampleAndScore(tensorboard=…)", "tensorboard")
            tensorflow = package("tensorflow", "SampleAndScore(tensorboard=…)", "tensorflow")
            self._summary = tensorflow.summary
            self._writer = tensorflow.summary.create_file_writer(os.path.join(tensorboard, "samples"))
        if folder is not None:
            os.makedirs(folder, exist_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        model = self.sampled or sampled_model(self.model)
        tokens = model.generate(
            self.samples, steps=self.steps, seed=self.seed, verbose=0, **self.generate
        )
        figures = measure_by(backend.agreed, self.scores, tokens, self.reference_data)
        if logs is not None:
            logs.update(figures)
        # Of several processes, the first writes; where it cannot, none goes on.
        backend.from_first(lambda: self._write(model, tokens, epoch, figures))

    def _write(self, model, tokens, epoch, figures):
        if self.folder is not None:
            with replacing(os.path.join(self.folder, f"samples_{epoch + 1:04d}.npy")) as path:
                np.save(path, tokens)
            columns = ["epoch", *figures]
            with open(self._table(columns), "a", newline="") as file:
                writer = csv.DictWriter(file, columns)
                if not file.tell():
                    writer.writeheader()
                writer.writerow({"epoch": epoch + 1, **figures})
        if self._writer is not None:
            self._show(model, tokens[: self.shown], epoch)

    def _table(self, columns):
        """The path of the first table that is new or has these columns."""
        for number in itertools.count(1):
            name = f"scores_{number}.csv" if number > 1 else "scores.csv"
            path = os.path.join(self.folder, name)
            if not os.path.exists(path):
                return path
            with open(path, newline="") as file:
                if next(csv.reader(file), columns) == columns:
                    return path

    def _show(self, model, tokens, epoch):
        grid = model.capabilities.grid
        with self._writer.as_default(step=epoch + 1):
            if grid is not None:
                shape = (-1, grid[0], grid[1] // self.channels, self.channels)
                images = tokens.reshape(shape) / (model.process.vocabulary_size - 1)
                self._summary.image("samples", images.astype("float32"), max_outputs=self.shown)
            else:
                decode = model.tokenizer.decode if model.tokenizer else lambda ids: ids.tolist()
                self._summary.text("samples", "\n".join(f"    {text}" for text in decode(tokens)))
        self._writer.flush()


def sampled_model(trained):
    """What is sampled of a model that is trained: a distiller's student, or the model itself.

    Example:

    ```python
    distiller = kd.DMMDDistiller(kd.from_preset("digits_masked_teacher"), steps=8)
    kd.callbacks.sampled_model(distiller) is distiller.student  # True
    ```
    """
    return trained.student if isinstance(trained, Distiller) else trained
