"""The part of a distillation that does not depend on the method: three networks, two optimizers."""

import keras
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.distillation.optimizer import AlternatingOptimizer
from keras_dmmd.training.inputs import weighted_mean
from keras_dmmd.training.seeded import SeededModel


class Distiller(backend.StatefulTrainStep, SeededModel):
    """A frozen teacher, a student, and a critic that learns what the student makes.

    One `train_step` is one round: `critic_steps` critic updates, then one student update. Each draws
    its own noise and runs only its own branch. A method subclasses this and writes `student_losses`
    and `critic_losses`.

    Args:
        teacher, student, critic: built `keras_dmmd.DiffusionModel`s.
        critic_steps: critic updates a student update.
        seed: of all the draws.
    """

    statistics = ("student_entropy", "log_ratio_mean", "log_ratio_std")
    norms = ("student_grad_norm", "critic_grad_norm")

    def __init__(self, teacher, student, critic, critic_steps=1, seed=0, **kwargs):
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(seed=seed, **kwargs)
        self.teacher, self.student, self.critic = teacher, student, critic
        self.process = teacher.process
        self.teacher.trainable = False
        self.critic_steps = critic_steps
        names = ("student_loss", "critic_loss", *self.statistics, *self.norms)
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self._training = False
        self.built = True

    def student_losses(self, inputs, key):
        """`(batch,)` losses in nats a token, and a dict of scalar statistics."""
        raise NotImplementedError

    def critic_losses(self, inputs, key):
        """`(batch,)` losses in nats a token, and a dict of scalar statistics."""
        raise NotImplementedError

    # A teacher that was frozen before it was saved comes back on TensorFlow with trainable variables
    # under a frozen layer, so what is trained is said here rather than left to the flags.
    @property
    def trainable_variables(self):
        return [*self.student.trainable_variables, *self.critic.trainable_variables]

    @property
    def trainable_weights(self):
        return self.trainable_variables

    @property
    def non_trainable_variables(self):
        trained = {id(v) for v in self.trainable_variables}
        return [v for v in self.variables if id(v) not in trained]

    @property
    def non_trainable_weights(self):
        trained = {id(v) for v in self.trainable_variables}
        return [v for v in self.weights if id(v) not in trained]

    # Training -------------------------------------------------------------------------------------

    def compile(self, student_optimizer=None, critic_optimizer=None, **kwargs):
        """Configure training.

        Args:
            student_optimizer, critic_optimizer: Keras optimizers, or their names; by default those of
                `default_optimizer`. For an EMA of the student give its optimizer `use_ema=True`; for
                clipping, `global_clipnorm`.
            **kwargs: `run_eagerly`, `jit_compile`, `steps_per_execution`, as in `keras.Model.compile`.
        """
        accepted = {"run_eagerly", "jit_compile", "steps_per_execution"}
        if not set(kwargs) <= accepted:
            raise ValueError(
                "A distiller is compiled with `student_optimizer`, `critic_optimizer` and "
                f"{sorted(accepted)}. Received: {sorted(set(kwargs) - accepted)}"
            )
        optimizers = {
            "critic": self._resolve(critic_optimizer, "critic"),
            "student": self._resolve(student_optimizer, "student"),
        }
        if optimizers["critic"] is optimizers["student"]:
            raise ValueError(
                "The student and the critic need an optimizer each: the same object was given twice."
            )
        self._optimizer_configs = {
            f"{role}_optimizer": keras.optimizers.serialize(optimizer)
            for role, optimizer in optimizers.items()
        }
        if self.dtype_policy.compute_dtype == "float16":
            # Here and not in Keras's `compile`: the two losses are scaled apart.
            optimizers = {
                role: keras.optimizers.LossScaleOptimizer(optimizer)
                for role, optimizer in optimizers.items()
            }
        optimizer = AlternatingOptimizer(
            [
                (optimizers["critic"], self.critic.trainable_variables),
                (optimizers["student"], self.student.trainable_variables),
            ]
        )
        super().compile(optimizer=optimizer, auto_scale_loss=False, **kwargs)
        self.optimizer.build(self.trainable_variables)
        self._compile_flags = {"jit_compile": "auto", **kwargs}

    def default_optimizer(self, role):
        """The optimizer of `"student"` or `"critic"` where none is given."""
        raise NotImplementedError

    def _resolve(self, optimizer, role):
        if optimizer is None:
            return self.default_optimizer(role)
        return keras.optimizers.get(optimizer)

    def update(self, data):
        """One round on a batch; returns the logs."""
        inputs, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._training = True
        critic_optimizer, student_optimizer = self.optimizer.optimizers
        norm = ops.zeros(())
        for _ in range(self.critic_steps):
            norm = self._train("critic", critic_optimizer, inputs, sample_weight, norm)
        self._train("student", student_optimizer, inputs, sample_weight, norm)
        self.optimizer.advance()
        return self.get_metrics_result()

    def _train(self, role, optimizer, inputs, sample_weight, previous_norm):
        """Update one network, once the update before it has its gradients; returns their norm."""
        key = backend.after(random.as_key(self.seed_generator), previous_norm)
        losses = {"student": self.student_losses, "critic": self.critic_losses}[role]
        variables = getattr(self, role).trainable_variables

        def scaled_loss():
            values, logs = losses(inputs, key)
            loss = weighted_mean(values, sample_weight)
            return optimizer.scale_loss(loss), {f"{role}_loss": loss, **logs}

        (_, logs), gradients = backend.value_and_grad(scaled_loss, variables)
        scale = optimizer.scale_loss(ops.ones(()))
        norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients)) / scale
        backend.apply_gradients(optimizer, gradients, variables)
        self._track({**logs, f"{role}_grad_norm": norm})
        return norm

    def _track(self, logs):
        for name, value in logs.items():
            value, counts = ops.stop_gradient(value), None
            if name in self.norms:
                # The loss scale of float16 grows until gradients overflow and a step is left out.
                counts = ops.cast(ops.isfinite(value), "float32")
                value = ops.where(counts > 0, value, 0.0)
            self.trackers[name].update_state(value, sample_weight=counts)
        if "student_loss" in logs:
            self._loss_tracker.update_state(ops.stop_gradient(logs["student_loss"]))

    # Evaluation -----------------------------------------------------------------------------------

    def call(self, inputs, training=False):
        """The losses of each example, `{"student_loss": (batch,), "critic_loss": (batch,)}`."""
        student_key, critic_key = random.split(self.evaluation_seed, 2)
        with backend.no_gradient():
            student, _ = self.student_losses(inputs, student_key)
            critic, _ = self.critic_losses(inputs, critic_key)
        return {"student_loss": student, "critic_loss": critic}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The student's loss; for `evaluate`, whose metrics it also feeds."""
        self._training = False
        logs = {name: weighted_mean(values, sample_weight) for name, values in y_pred.items()}
        for name, value in logs.items():
            self.trackers[name].update_state(value)
        return logs["student_loss"]

    @property
    def metrics(self):
        # Not those of the three models inside, which only their own `evaluate` feeds.
        tracker = [self._loss_tracker] if self.compiled else []
        return [*tracker, *self.trackers.values()]

    def get_metrics_result(self):
        """Losses alone in evaluation, where nothing feeds the statistics of a training step."""
        result = super().get_metrics_result()
        if not self._training:
            for name in (*self.statistics, *self.norms):
                result.pop(name, None)
        return result

    def compute_output_shape(self, input_shape):
        shape = input_shape["tokens"] if isinstance(input_shape, dict) else input_shape
        return {"student_loss": (shape[0],), "critic_loss": (shape[0],)}

    # Serialisation --------------------------------------------------------------------------------

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "teacher": serialize(self.teacher),
            "student": serialize(self.student),
            "critic": serialize(self.critic),
            "critic_steps": self.critic_steps,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = {
            name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            if isinstance(value, dict) and "class_name" in value
            else value
            for name, value in config.items()
        }
        return cls(**config)

    def get_build_config(self):
        return {"input_shape": (None, self.teacher.length)}

    def build_from_config(self, config):
        del config  # built as soon as it is made

    def get_compile_config(self):
        return {**self._optimizer_configs, **self._compile_flags}

    def compile_from_config(self, config):
        config = dict(config)
        for role in ("student_optimizer", "critic_optimizer"):
            config[role] = keras.optimizers.deserialize(config[role])
        self.compile(**config)
