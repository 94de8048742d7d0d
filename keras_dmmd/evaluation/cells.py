"""What of a sweep is done, so that it can go on where it was interrupted."""

import json
import os

import numpy as np

from keras_dmmd.metrics.streaming import array_hash


class Cells:
    """Finished cells, as files of a folder."""

    def __init__(self, folder, settings):
        self.folder = folder and os.path.join(folder, "cells")
        if folder is None:
            return
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, "settings.json")
        # What may grow from one call to the next needs no cell done again.
        fixed = {k: v for k, v in settings.items() if k not in ("steps", "temperatures", "seeds")}
        if os.path.exists(path):
            with open(path) as file:
                known = json.load(file)
            changed = sorted(k for k in fixed if k != "models" and known.get(k) != fixed[k])
            changed += [
                f"model {name!r}"
                for name, mark in fixed["models"].items()
                if known["models"].get(name, mark) != mark
            ]
            if changed:
                raise ValueError(
                    f"{os.fspath(folder)!r} holds a sweep with other {', '.join(changed)}: take "
                    "another folder."
                )
            fixed["models"] = {**known["models"], **fixed["models"]}
        write_json(path, fixed)

    def get(self, key, work):
        if self.folder is None:
            return work()
        path = os.path.join(self.folder, f"{array_hash(np.array(repr(key)))}.json")
        if not os.path.exists(path):
            write_json(path, work())
        with open(path) as file:
            return json.load(file)


def write_json(path, content):
    with open(f"{path}.partial", "w") as file:
        json.dump(content, file, indent=1)
    os.replace(f"{path}.partial", path)
