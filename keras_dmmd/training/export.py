"""`keras_dmmd.export`."""

from keras_dmmd import checks
from keras_dmmd.training.diffusion_model import DiffusionModel


def export(model, path, format=None, **options):
    """`model.export(path, format, **options)`: see `keras_dmmd.exporting.export`.

    Args:
        model: a `DiffusionModel`, of a distiller its student.
        path, format, **options: as there.

    Raises:
        ValueError: it is another model, or the format is not written on this backend.

    Example:

    ```python
    student = kd.from_preset("digits_masked_student")
    kd.export(student, "student.pt2", steps=1)  # on Torch; "student.stablehlo" on JAX
    ```
    """
    if not isinstance(model, DiffusionModel):
        raise ValueError(
            "`model` must be a keras_dmmd.DiffusionModel, of a distiller its student. "
            f"Received: model={checks.shown(model)}"
        )
    model.export(path, format, **options)
