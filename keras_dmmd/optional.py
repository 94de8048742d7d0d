"""Packages that only some parts need."""

import importlib


def package(name, user, install):
    """The module `name`, or an error that says who needs it and what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{user} needs the package: pip install {install}") from error
