"""`keras-dmmd doctor`: what is installed, what is missing, and whether it works."""

import importlib.metadata
import os
import platform
import shutil

BACKENDS = ("jax", "tensorflow", "torch")
# What each package that not everybody needs is for.
EXTRAS = {
    "tokenizers": "byte pairs",
    "safetensors": "weights of others",
    "keras-hub": "pretrained backbones",
    "pillow": "images, animations",
    "matplotlib": "charts of a report",
    "rdkit": "molecules",
    "onnx": "export to ONNX",
    "onnxscript": "export to ONNX",
    "huggingface-hub": "hf:// handles",
    "kagglehub": "kaggle:// handles",
}


def doctor(args):
    """Print what is installed; then train, distil and sample on the backend that runs.

    Raises:
        ImportError, ValueError: there is no backend, or it does not start.
        RuntimeError: it starts, and what it makes is wrong.
    """
    _print("python", platform.python_version())
    for name in ("keras-dmmd", "keras", "numpy"):
        _print(name, version(name) or "not installed as a package")
    installed = [name for name in BACKENDS if version(name)]
    for name in BACKENDS:
        _print(name, version(name) or f"not installed: pip install {name}")
    for name, what in EXTRAS.items():
        _print(name, version(name) or f"not installed, for {what}: pip install {name}")
    if not installed:
        raise ImportError(f"Keras needs one of {', '.join(BACKENDS)}: pip install jax, for example.")
    try:
        from keras_dmmd.cli.selftest import backend_and_devices, selftest
    except (ImportError, ValueError) as error:
        asked = os.environ.get("KERAS_BACKEND")
        raise ImportError(
            f"Keras does not start on {asked or 'the backend of its keras.json'} ({error}): set "
            f"KERAS_BACKEND to what is installed, {' or '.join(installed)}."
        ) from error
    backend, devices = backend_and_devices()
    _print("backend", f"{backend} (KERAS_BACKEND={os.environ.get('KERAS_BACKEND', 'not set')})")
    _print("devices", devices)
    if devices == "cpu" and shutil.which("nvidia-smi"):
        _print("", f"There is an NVIDIA driver, but {backend} sees no GPU: install its build for CUDA.")
    for name, outcome in selftest():
        _print(name, outcome)
    print(f"All is well on {backend}.")


def version(name):
    """The version of an installed package, or `None`."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # Some builds for other devices have names of their own.
        return next(filter(None, map(version, VARIANTS.get(name, ()))), None)


VARIANTS = {"tensorflow": ("tensorflow-cpu", "tensorflow-macos", "tf-nightly")}


def _print(name, fact):
    print(f"{name:18}{fact}", flush=True)
