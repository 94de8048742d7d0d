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


def files_below(folder, endings):
    """The paths of the files in a folder and those below it that end so, in any case, sorted.

    What begins with a dot is hidden, a folder with all that is in it: a program's own, and no data.

    Args:
        endings: a tuple of them, in lower case.
    """
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        own = [name for name in folders if not name.startswith(".")]
        # Links last: a folder has its own name, where it has another one, too.
        folders[:] = sorted(own, key=lambda name: (os.path.islink(os.path.join(place, name)), name))
        found += [
            os.path.join(place, name)
            for name in names
            if name.lower().endswith(endings) and not name.startswith(".")
        ]
    return sorted(found)


def named(folders):
    return " or ".join(repr(os.fspath(folder)) for folder in folders)
