"""Handles of presets at Hugging Face and Kaggle, or in a folder that stands for them."""

import os
import shutil

from keras_dmmd.optional import package

SCHEMES = ("hf://", "kaggle://", "file://")


def is_handle(preset):
    """Whether a preset is named by a handle, not by a folder or a name that ships."""
    return isinstance(preset, str) and preset.startswith(SCHEMES)


def download(handle):
    """The folder of a preset that is named by a handle, fetched unless it is there already."""
    scheme, name = _split(handle)
    if scheme == "hf://":
        return _package("huggingface_hub").snapshot_download(name)
    if scheme == "kaggle://":
        return _package("kagglehub").model_download(name)
    return name


def upload_to_hub(handle, folder):
    """Publish a preset that `save_to_preset` wrote.

    Args:
        handle: `"hf://user/name"` or `"kaggle://user/model/keras/variation"`, which need the package
            `huggingface_hub` or `kagglehub` and its login; or `"file:///path"`, a folder to copy it to.
        folder: the preset.
    """
    scheme, name = _split(handle)
    absent = [f for f in ("config.json", "weights.npz") if not os.path.exists(os.path.join(folder, f))]
    if absent:
        raise ValueError(f"{os.fspath(folder)!r} is no preset: it has no {' and no '.join(absent)}.")
    if scheme == "hf://":
        api = _package("huggingface_hub").HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=os.fspath(folder))
    elif scheme == "kaggle://":
        _package("kagglehub").model_upload(name, os.fspath(folder))
    else:
        shutil.copytree(folder, name, dirs_exist_ok=True)


def _split(handle):
    scheme = next((s for s in SCHEMES if str(handle).startswith(s)), None)
    name = str(handle).removeprefix(scheme or "")
    parts = {"hf://": 2, "kaggle://": 4}.get(scheme)
    if scheme is None or not name or (parts and len([p for p in name.split("/") if p]) != parts):
        raise ValueError(
            "A handle must be 'hf://user/name', 'kaggle://user/model/keras/variation' or "
            f"'file:///path'. Received: {handle!r}"
        )
    return scheme, name


def _package(name):
    return package(name, "This handle", name.replace("_", "-"))
