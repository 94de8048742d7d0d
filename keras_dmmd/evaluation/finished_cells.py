"""What of a sweep is done, so that it can go on where it was interrupted."""

import os

from keras_dmmd import backend
from keras_dmmd.files import read_json, write_json
from keras_dmmd.fingerprints import text_hash

# What may grow from one call to the next needs no cell done again.
GROWING = ("steps", "temperatures", "seeds", "samplers")


class FinishedCells:
    """Finished cells, as files of a folder, which the first of several processes reads and writes.

    Attributes:
        seeds: all that the folder has had, in the order in which they came: their places stay.
    """

    def __init__(self, folder, settings):
        self.folder, self.seeds = folder and os.path.join(folder, "cells"), settings["seeds"]
        if folder is not None:
            self.seeds = backend.from_first(lambda: self._begin(folder, settings))

    def _begin(self, folder, settings):
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, "settings.json")
        fixed, seeds = {k: v for k, v in settings.items() if k not in GROWING}, settings["seeds"]
        if os.path.exists(path):
            known = read_json(path)
            known_models = known.get("models", {})
            changed = sorted(k for k in fixed if k != "models" and known.get(k) != fixed[k])
            if "generate" in changed:
                options, asked = known.get("generate") or {}, fixed["generate"]
                names = sorted(n for n in options | asked if options.get(n) != asked.get(n))
                said = ", ".join(f"`{name}`" for name in names)
                changed[changed.index("generate")] = f"{said} of `generate`"
            changed += [
                f"model {name!r}"
                for name, fingerprint in fixed["models"].items()
                if known_models.get(name, fingerprint) != fingerprint
            ]
            if changed:
                raise ValueError(
                    f"{os.fspath(folder)!r} holds a sweep with other {', '.join(changed)}: take "
                    "another folder."
                )
            fixed["models"] = {**known_models, **fixed["models"]}
            seeds = list(dict.fromkeys([*known.get("seeds", []), *seeds]))
        write_json(path, fixed | {"seeds": seeds})
        return seeds

    def get(self, key, work):
        """What a cell holds, by `work()` where it is not done yet: in all processes the same."""
        if self.folder is None:
            found = work()
            return backend.from_first(lambda: found)
        path = os.path.join(self.folder, f"{text_hash(repr(key))}.json")
        found = backend.from_first(lambda: read_json(path) if os.path.exists(path) else None)
        if found is None:
            made = work()
            found = backend.from_first(lambda: _kept(path, made))
        return found


def _kept(path, content):
    """A cell as its file gives it back, once that is written."""
    write_json(path, content)
    return read_json(path)
