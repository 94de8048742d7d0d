"""Where data may lie on this machine."""

import importlib.util
import os


def keras_cache(name):
    """The path of `name` in the folder where `keras.utils.get_file` keeps data."""
    home = os.environ.get("KERAS_HOME", os.path.join(os.path.expanduser("~"), ".keras"))
    return os.path.join(home, "datasets", name)


def package_folder(package):
    """The folder of an installed package, which is not imported; `None` where there is none."""
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec is not None else None
    return locations[0] if locations else None


def first_with(folders, name):
    """The first folder that holds `name`, or `None`."""
    return next((f for f in folders if os.path.exists(os.path.join(f, name))), None)


def named(folders):
    return " or ".join(repr(os.fspath(folder)) for folder in folders)
