"""What every distillation shares: a teacher, roles trained in turn, their optimizers."""

import keras
from keras import ops

from keras_dmmd import backend, random
from keras_dmmd.configs import check_config
from keras_dmmd.distillation.checks import (
    check_losses,
    check_made,
    check_named,
    check_reported,
    check_roles,
)
from keras_dmmd.distillation.optimizer import AlternatingOptimizer, unending_adam
from keras_dmmd.training.arguments import check_optimizer
from keras_dmmd.training.copying import is_shared, share_weights
from keras_dmmd.training.corruption import batch_size_of
from keras_dmmd.training.inputs import weighted, weighted_mean
from keras_dmmd.training.optimizers import check_average, half_of, public_config
from keras_dmmd.training.seeded import SeededModel
from keras_dmmd.training.updates import update

COMPILE_OPTIONS = ("jit_compile", "run_eagerly", "steps_per_execution", "micro_batches")


class Distiller(backend.StatefulTrainStep, SeededModel):
    """A teacher, and networks that are trained from it, each in a role.

    One `train_step` is one round: every role in the order of `roles` is updated, as often as `updates`
    says. Each update draws its own noise and runs only its own branch, and has an optimizer of its own.
    A method subclasses this, names its roles and writes `role_losses`.

    Args:
        teacher: a built `keras_dmmd.DiffusionModel`; no update changes it.
        student: another one, which the distillation is for; `teacher.copy(adapters=8)` is one that
            shares the teacher's weights.
        critic: a third one that learns what the student makes, or `None` for methods without.
        seed: of all the draws.
        **kwargs: of `keras.Model`, and the models of further roles by their names.

    Attributes:
        roles: names of attributes that are trained models, in the order of their updates. Those whose
            model is `None` are left out.
        statistics: names of the scalars that `role_losses` reports beside them; their means stand in
            the logs.
        simultaneous: whether all roles are updated at once, by `joint_losses`.

    Example:

    ```python
    @keras.saving.register_keras_serializable("my_project")
    class Imitation(kd.Distiller):
        '''The student's prediction from nothing but noise follows its teacher's.'''

        roles = ("student",)

        def role_losses(self, role, inputs, key):
            noise = self.process.prior(keras.ops.shape(inputs), key)
            t = keras.ops.ones_like(noise[:, 0], dtype="float32")
            target, logits = (model.logits(noise, t) for model in (self.teacher, self.student))
            wanted = keras.ops.stop_gradient(keras.ops.softmax(target))
            cost = self.process.cost(logits, noise, t)
            return keras.ops.mean(keras.ops.sum(wanted * cost, axis=-1), axis=-1), {}

        def default_optimizer(self, role):
            return keras.optimizers.Adam(1e-4)

    (tokens, _), _ = kd.datasets.load_digits()
    teacher = kd.from_preset("digits_masked_teacher")
    distiller = Imitation(teacher, student=teacher.copy(name="student"))
    distiller.compile()
    distiller.fit(tokens)
    ```
    """

    simultaneous = False
    roles = ("critic", "student")
    statistics = ()

    def __init__(self, teacher, student, critic=None, seed=0, **kwargs):
        models = {"student": student, "critic": critic}
        models |= {role: kwargs.pop(role) for role in self.roles if role in kwargs}
        check_made(teacher, **models)
        kwargs.setdefault("dtype", student.dtype_policy)
        super().__init__(seed=seed, **kwargs)
        self.teacher = teacher
        for role, model in models.items():
            setattr(self, role, model)
        self.roles = self.made_with = tuple(r for r in self.roles if models.get(r) is not None)
        self.process = teacher.process
        self.trackers = {name: keras.metrics.Mean(name=name) for name in self._log_names()}
        self.built = True

    def _log_names(self):
        """Losses from the last role to the first, then statistics, then norms."""
        by_role = tuple(reversed(self.roles))
        return [
            *(f"{role}_loss" for role in by_role),
            *self.statistics,
            *(f"{role}_grad_norm" for role in by_role),
        ]

    # What a method writes -------------------------------------------------------------------------

    def role_losses(self, role, inputs, key):
        """What the model of a role is trained by. (`losses` is Keras's own name for something else.)

        Args:
            role: one of `roles`.
            inputs: clean ids `(batch, length)`, or a dict with them, as for `DiffusionModel`.
            key: for the draws.

        Returns:
            `(batch,)` losses in nats per token, and a dict of scalars, of those in `statistics`.
        """
        raise NotImplementedError(f"{type(self).__name__} must write `role_losses`.")

    def joint_losses(self, inputs, key):
        """What all roles are trained by at once, of one draw, where `simultaneous` is true.

        Returns:
            A dict from each role to what `role_losses` returns. No gradient of a loss may reach the
            model of another role.
        """
        raise NotImplementedError(f"{type(self).__name__} is not made for `simultaneous` updates.")

    def updates(self, role):
        """How often a role is updated in a round."""
        del role
        return 1

    def end_round(self):
        """Called at the end of every round, within the compiled step: for plain `assign`s."""

    def default_optimizer(self, role):
        """Where none is given: `unending_adam`, with a β1 of 0 where roles are several.

        In half precision without its average, which could not follow.
        """
        average = role == "student" and not half_of(self.model_of(role).trainable_variables)
        return unending_adam(average, beta_1=0.0 if len(self.roles) > 1 else 0.9)

    # What is trained ------------------------------------------------------------------------------

    # The teacher is the caller's, who may go on to train it: it is left out here, and not frozen.
    @property
    def trainable_variables(self):
        return [v for role in reversed(self.roles) for v in self.model_of(role).trainable_variables]

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

    @property
    def reader(self):
        return self.teacher.reader

    def model_of(self, role):
        """The model of a role."""
        return getattr(self, role)

    # Training -------------------------------------------------------------------------------------

    def compile(self, student_optimizer=None, critic_optimizer=None, **kwargs):
        """Configure training.

        Args:
            student_optimizer, critic_optimizer: Keras optimizers or their names, and so on for each
                role; by default those of `default_optimizer`. For an EMA of the student give its
                optimizer `use_ema=True`; for clipping, `global_clipnorm`.
            **kwargs: `<role>_optimizer` of further roles; `run_eagerly`, `jit_compile` and
                `steps_per_execution` as in `keras.Model.compile`; `micro_batches`: into how many parts,
                at least, a batch is cut, in the memory of one of them: each update is that of the whole
                batch, which an optimizer's own `gradient_accumulation_steps`, over several rounds, is
                not.
        """
        own = {"student_optimizer": student_optimizer, "critic_optimizer": critic_optimizer}
        kwargs |= {name: optimizer for name, optimizer in own.items() if optimizer is not None}
        names = [f"{role}_optimizer" for role in reversed(self.roles)]
        unknown = sorted(set(kwargs) - {*names, *COMPILE_OPTIONS})
        if unknown:
            raise ValueError(
                f"A {type(self).__name__} is compiled with {', '.join([*names, *COMPILE_OPTIONS])}. "
                f"Received: {unknown}"
            )
        check_roles(self)
        check_config("distiller", self, Distiller)
        options = {name: kwargs[name] for name in COMPILE_OPTIONS if name in kwargs}
        optimizers = {role: self._resolve(kwargs.get(f"{role}_optimizer"), role) for role in self.roles}
        if len({id(optimizer) for optimizer in optimizers.values()}) < len(optimizers):
            raise ValueError(
                f"{' and '.join(optimizers)} need an optimizer each: the same object was given twice."
            )
        for role, optimizer in optimizers.items():
            check_average(optimizer, self.model_of(role).trainable_variables)
        self._optimizer_configs = {
            f"{role}_optimizer": public_config(keras.optimizers.serialize(optimizer))
            for role, optimizer in optimizers.items()
        }
        if self.dtype_policy.compute_dtype == "float16":
            # Here and not in Keras's `compile`: the losses are scaled apart.
            optimizers = {
                role: keras.optimizers.LossScaleOptimizer(optimizer)
                for role, optimizer in optimizers.items()
            }
        parts = [
            (optimizer, self.model_of(role).trainable_variables)
            for role, optimizer in optimizers.items()
        ]
        super().compile(optimizer=AlternatingOptimizer(parts), auto_scale_loss=False, **options)
        self.optimizer.build(self.trainable_variables)
        self._compile_options = {"jit_compile": "auto", **options}

    def _resolve(self, optimizer, role):
        if optimizer is None:
            return self.default_optimizer(role)
        return check_optimizer(f"{role}_optimizer", optimizer)

    def update(self, data):
        """One round on a batch; returns the logs."""
        inputs, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        norm, reported = ops.zeros(()), set()
        turns = [(role,) for role in self.roles for _ in range(self.updates(role))]
        with random.batch_rows(batch_size_of(inputs)):
            for roles in [self.roles] if self.simultaneous else turns:
                norm, names = self._train(roles, inputs, sample_weight, norm)
                reported |= names
        check_reported(self, reported)
        self.optimizer.advance()
        self.end_round()
        with self.phase(training=True):
            return self.get_metrics_result()

    def _train(self, roles, inputs, sample_weight, previous_norm):
        """Update networks at once, after the update before has its gradients: a norm, statistics."""
        key = backend.wait_for(random.as_key(self.seed_generator), previous_norm)

        def losses_and_logs(inputs, sample_weight):
            if self.simultaneous:
                found = self.joint_losses(inputs, key)
            else:
                found = {role: self.role_losses(role, inputs, key) for role in roles}
            check_losses(self, found)
            return [(weighted_mean(found[r][0], sample_weight), found[r][1]) for r in roles]

        optimizers = dict(zip(self.roles, self.optimizer.optimizers, strict=True))
        parts = [(optimizers[role], self.model_of(role).trainable_variables) for role in roles]
        updates = update(parts, losses_and_logs, (inputs, sample_weight), self.micro_batches)
        names = {name for made in updates for name in made.logs}
        check_named(self, names)
        for role, made in zip(roles, updates, strict=True):
            logs = {f"{role}_loss": made.loss, **made.logs, f"{role}_grad_norm": made.norm}
            self._track(logs, made.finite)
        return updates[-1].norm, names

    def _track(self, logs, finite):
        for name, value in logs.items():
            self.trackers[name].update_state(ops.stop_gradient(value), sample_weight=finite)
        if "student_loss" in logs:
            loss = ops.stop_gradient(logs["student_loss"])
            self._loss_tracker.update_state(loss, sample_weight=finite)
        self.skipped.update_state(1.0 - finite)

    # Evaluation -----------------------------------------------------------------------------------

    def call(self, inputs, training=False):
        """The losses of each example, `{"student_loss": (batch,), "critic_loss": (batch,)}`."""
        roles = tuple(reversed(self.roles))
        keys = random.split(self.evaluation_seed, len(roles))
        with backend.no_gradient(), random.batch_rows(batch_size_of(inputs)):
            found = {r: self.role_losses(r, inputs, key) for r, key in zip(roles, keys, strict=True)}
            check_losses(self, found)
            return {f"{role}_loss": losses for role, (losses, _) in found.items()}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The student's loss; for `evaluate`, whose metrics it also feeds."""
        for name, values in y_pred.items():  # of examples: a smaller last batch counts for less
            self.trackers[name].update_state(weighted(values, sample_weight))
        return backend.keras_loss(weighted_mean(y_pred["student_loss"], sample_weight))

    @property
    def metrics(self):
        # Not those of the models inside, which only their own `evaluate` feeds.
        tracker = [self._loss_tracker] if self.compiled else []
        return [*tracker, *self.trackers.values(), self.skipped]

    def get_metrics_result(self):
        """Losses alone in evaluation, where nothing feeds the statistics of a training step."""
        result = super().get_metrics_result()
        if self.in_training:
            return result
        return {name: value for name, value in result.items() if name.endswith("loss")}

    def compute_output_shape(self, input_shape):
        shape = input_shape["tokens"] if isinstance(input_shape, dict) else input_shape
        return {f"{role}_loss": (shape[0],) for role in reversed(self.roles)}

    # Serialisation --------------------------------------------------------------------------------

    def get_config(self):
        names = dict.fromkeys(["teacher", "student", *self.roles])
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            **{name: serialize(getattr(self, name)) for name in names},
            "seed": self.seed,
            "shared": [name for name in self.roles if is_shared(self.teacher, self.model_of(name))],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        shared = config.pop("shared", ())
        config = {
            name: keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
            if isinstance(value, dict) and "class_name" in value
            else value
            for name, value in config.items()
        }
        for name in shared:
            share_weights(config["teacher"], config[name])
        return cls(**config)

    def get_build_config(self):
        return {"input_shape": (None, self.teacher.length)}

    def build_from_config(self, config):
        del config  # built as soon as it is made

    def get_compile_config(self):
        return {**self._optimizer_configs, **self._compile_options}

    def compile_from_config(self, config):
        config = dict(config)
        for role in self.roles:
            name = f"{role}_optimizer"
            config[name] = keras.optimizers.deserialize(public_config(config[name]))
        self.compile(**config)
