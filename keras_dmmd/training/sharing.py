"""Batches that the devices of a `keras.distribution` divide among them."""

import keras


def check_shared(rows):
    """Raise a `ValueError` where devices cannot share a batch of so many rows; `None` is no batch."""
    distribution = keras.distribution.distribution()
    if distribution is None or not rows:
        return
    mesh = distribution.device_mesh
    devices = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    if rows % devices:
        raise ValueError(
            f"A batch of {rows} rows cannot be shared by {devices} devices: make `batch_size` a "
            "multiple of these, and the number of rows too, or leave out a last batch that is smaller."
        )
