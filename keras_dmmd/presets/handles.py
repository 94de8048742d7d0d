"""Handles of presets at Hugging Face and Kaggle, or in a folder that stands for them."""

import os
import shutil
from urllib.request import url2pathname

from keras_dmmd import checks
from keras_dmmd.files import replacing
from keras_dmmd.optional import package
from keras_dmmd.presets.model_card import MADE, license_of, model_card

PAGE = "README.md"
# Names that Kaggle has for licenses; others stand on the page alone.
KAGGLE_LICENSES = {"apache-2.0": "Apache 2.0", "mit": "MIT"}
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


def upload_to_hub(handle, folder, license=None):
    """Publish a preset that `save_to_preset` wrote, with a page that is made from its card.

    The page, `README.md`, says what the model is: its process, network, sampler, network calls,
    tokenizer and license, how it was made and what was measured. It is written into the folder, unless
    a `README.md` of somebody's own is there.

    Args:
        handle: `"hf://user/name"` or `"kaggle://user/model/keras/variation"`, which need the package
            `huggingface_hub` or `kagglehub` and its login; or `"file:///path"`, a folder to copy it to.
        folder: the preset.
        license: its identifier, such as `"apache-2.0"`; by default that under `"license"` in the card.

    Raises:
        ValueError: the handle is none, the folder is no preset, or the license no identifier.

    Example:

    ```python
    student = kd.from_preset("digits_masked_student")
    kd.presets.save_to_preset(student, "my_student")
    handle = pathlib.Path("models/student").resolve().as_uri()  # or "hf://me/student"
    kd.presets.upload_to_hub(handle, "my_student", license="apache-2.0")
    student = kd.from_preset(handle)
    ```
    """
    scheme, name = _split(handle)
    folder = checks.path("folder", folder)
    absent = [f for f in ("config.json", "weights.npz") if not os.path.exists(os.path.join(folder, f))]
    if absent:
        raise ValueError(f"{folder!r} is no preset: it has no {' and no '.join(absent)}.")
    _write_page(os.path.join(folder, PAGE), model_card(folder, handle, license))
    if scheme == "hf://":
        api = _package("huggingface_hub").HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder)
    elif scheme == "kaggle://":
        known = KAGGLE_LICENSES.get(license_of(folder, license))
        _package("kagglehub").model_upload(name, folder, license_name=known)
    else:
        shutil.copytree(folder, name, dirs_exist_ok=True)


def _write_page(path, page):
    """Write a page, unless the one that is there is somebody's own."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if MADE not in file.read():
                return
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(page)


def _split(handle):
    scheme = next((s for s in SCHEMES if str(handle).startswith(s)), None)
    name = str(handle).removeprefix(scheme or "")
    parts = {"hf://": 2, "kaggle://": 4}.get(scheme)
    if scheme is None or not name or (parts and len([p for p in name.split("/") if p]) != parts):
        raise ValueError(
            "A handle must be 'hf://user/name', 'kaggle://user/model/keras/variation' or "
            f"'file:///path'. Received: {handle!r}"
        )
    return scheme, url2pathname(name) if scheme == "file://" else name


def _package(name):
    return package(name, "This handle", name.replace("_", "-"))
