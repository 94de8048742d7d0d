"""Checkpoints that carry every random stream, replace a file in one move, and load all or nothing."""

import os
import warnings
import zipfile

import numpy as np
from keras import ops
from keras.src.saving.orbax_util import is_orbax_checkpoint

from keras_dmmd import backend, checks
from keras_dmmd.files import replacing
from keras_dmmd.training.sealed import open_seal, seal
from keras_dmmd.weight_files import check_declared

_STREAM = "random_stream_"


class ExactCheckpoints:
    """Mixin for `keras.Model`: `save`, `save_weights` and `load_weights` for exact resumption.

    Keras keeps the states of `SeedGenerator`s out of its files, so a resumed run would draw other
    numbers; they are saved here with the weights. A file is written beside its target and moved over
    it when complete: whatever happens meanwhile, the last good one stays. A file that is truncated or
    belongs to another model is refused, and the model in memory is left as it was.
    """

    def _random_streams(self):
        weights = {id(v) for v in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def _groups(self):
        """What Keras calls a model's state, and the variables of each part."""
        optimizer = self._build_optimizer()
        return {
            "trainable_variables": self.trainable_variables,
            "non_trainable_variables": self.non_trainable_variables,
            "optimizer_variables": [] if optimizer is None else optimizer.variables,
            "metrics_variables": self.metrics_variables,
        }

    def get_state_tree(self, value_format="backend_tensor"):
        """See `keras.Model.get_state_tree`; what `keras.callbacks.OrbaxCheckpoint` writes.

        Variables have numbers for names: networks in one model have the same paths.
        """
        backend.return_state(self)
        convert = ops.convert_to_numpy if value_format == "numpy_array" else lambda v: v.value
        return {
            group: {f"{i:05d}": convert(v) for i, v in enumerate(variables)}
            for group, variables in self._groups().items()
        }

    def set_state_tree(self, state_tree):
        """See `keras.Model.set_state_tree`; all or nothing.

        Raises:
            ValueError: the state is another model's.
        """
        groups, pairs = self._groups(), []
        for group, values in state_tree.items():
            variables = groups.get(group, [])
            names = [f"{i:05d}" for i in range(len(variables))]
            if sorted(names) != sorted(values):
                raise ValueError(
                    f"The state has {len(values)} {group}, and this {type(self).__name__} has "
                    f"{len(names)}: it is another model's."
                )
            pairs += [(v, values[name]) for v, name in zip(variables, names, strict=True)]
        for variable, value in pairs:
            if tuple(variable.shape) != tuple(np.shape(value)):
                raise ValueError(
                    f"The state's {variable.path} has shape {np.shape(value)}, and this model's "
                    f"{tuple(variable.shape)}: it is another model's."
                )
        for variable, value in pairs:
            variable.assign(value)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(self._random_streams()):
            store[f"{_STREAM}{i}"] = ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        streams = self._random_streams()
        saved = [name for name in store.keys() if name.startswith(_STREAM)]
        if saved and len(saved) != len(streams):  # files of plain Keras have none
            raise ValueError(f"The file has {len(saved)} random streams, this model {len(streams)}.")
        for i, _ in enumerate(saved):
            streams[i].assign(store[f"{_STREAM}{i}"])
        own = {name: store[name] for name in store.keys() if not name.startswith(_STREAM)}
        super().load_own_variables(own)

    def _build_optimizer(self):
        """So that every file holds, and expects, the whole state of the optimizer."""
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            with backend.scope_of(self):
                optimizer.build(self.trainable_variables)
        return optimizer

    def _state(self):
        """All variables that files hold."""
        optimizer = self._build_optimizer()
        return [*self.variables, *(optimizer.variables if optimizer is not None else [])]

    def save(self, filepath, overwrite=True, **kwargs):
        """See `keras.Model.save`. Of several processes that train together the first writes.

        The others may make the call or not, unless weights are divided among them, on JAX: these are
        gathered for it, and all must call.
        """
        with backend.whole(self._state()) as writes:
            if writes:
                save = super().save
                _replace(filepath, overwrite, lambda path: save(path, **kwargs))

    def save_weights(self, filepath, overwrite=True, **kwargs):
        """See `keras.Model.save_weights`; of several processes as `save`."""
        self.save_sealed(filepath, overwrite=overwrite, **kwargs)

    def save_sealed(self, filepath, facts=None, arrays=None, overwrite=True, **kwargs):
        """`save_weights`, and facts that JSON can hold, and numpy arrays by their names."""

        def write(path):
            super(ExactCheckpoints, self).save_weights(path, **kwargs)
            if path.endswith(".h5"):
                seal(path, facts, arrays)

        with backend.whole(self._state()) as writes:
            if writes:
                _replace(filepath, overwrite, write)

    def load_weights(self, filepath, **kwargs):
        """Load weights, optimizer and random streams, or raise and change nothing.

        Raises:
            OSError: the file is missing, truncated, damaged or not a weights file.
            ValueError: the file holds another model's weights.
        """
        self.load_sealed(filepath, **kwargs)

    def load_sealed(self, filepath, **kwargs):
        """`load_weights`; returns the `facts, arrays` that `save_weights` was given."""
        filepath = checks.path("filepath", filepath)
        if not os.path.exists(filepath):
            raise FileNotFoundError(f"There is no weights file at {filepath!r}.")
        if not is_orbax_checkpoint(filepath):
            check_declared(filepath)
        found = open_seal(filepath) if filepath.endswith(".h5") else ({}, {})
        variables = self._state()
        before = [backend.kept_value(v) for v in variables]
        try:
            with warnings.catch_warnings(), backend.on_these_devices():
                # Keras only warns, and leaves the optimizer as it was.
                warnings.filterwarnings("error", message="Skipping variable loading for optimizer")
                super().load_weights(filepath, **kwargs)
        except Exception as error:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            if isinstance(error, (OSError, zipfile.BadZipFile, EOFError)):
                raise OSError(
                    f"The weights file {filepath!r} is truncated or damaged; the model is "
                    f"unchanged. Cause: {error}"
                ) from error
            raise ValueError(
                f"The weights file {filepath!r} does not fit this {type(self).__name__}: it was "
                "saved from another model or configuration, or by a model that was compiled "
                "otherwise; the model is unchanged. "
                f"Cause: {error}"
            ) from error
        return found


def _replace(filepath, overwrite, write):
    """Have `write` make a file beside `filepath`, then move it there in one step."""
    filepath, overwrite = checks.path("filepath", filepath), checks.flag("overwrite", overwrite)
    if os.path.exists(filepath) and not overwrite:
        raise FileExistsError(f"{filepath!r} exists. Pass `overwrite=True` to replace it.")
    with replacing(filepath) as partial:
        write(partial)
