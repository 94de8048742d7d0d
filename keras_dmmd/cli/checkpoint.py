"""What `keras-dmmd train` and `distill` keep on the way: a checkpoint, and what it is one of."""

import json
import os
import shutil

from keras_dmmd.callbacks import BackupAndResume
from keras_dmmd.files import read_json, write_json


class Checkpoint:
    """The folder of a run that is not finished yet.

    Args:
        folder: made with its first file, and removed by `remove`.
        settings: what a run that goes on must have in common with the one before, JSON.

    Raises:
        ValueError: the folder is of a run with other settings.
    """

    def __init__(self, folder, settings):
        self.folder = folder
        path = os.path.join(folder, "settings.json")
        settings = json.loads(json.dumps(settings))  # as a file gives it back
        if os.path.exists(path):
            known = read_json(path)
            changed = sorted(k for k in settings.keys() | known if known.get(k) != settings.get(k))
            if changed:
                raise ValueError(
                    f"{folder!r} is the checkpoint of a run with other {', '.join(changed)}: "
                    "repeat that command to go on, or remove the folder, or take another --out."
                )
        write_json(path, settings)

    @property
    def callback(self):
        """What goes on from here, and writes after every epoch."""
        # The folder stays until the student is saved.
        return BackupAndResume(os.path.join(self.folder, "state"), delete_checkpoint=False)

    def remember(self, name, make):
        """What `make()` returned the first time, JSON: a run that goes on has it from its file."""
        path = os.path.join(self.folder, f"{name}.json")
        if not os.path.exists(path):
            write_json(path, {name: make()})
        found = read_json(path)
        if name not in found:
            raise ValueError(f"The file {path!r} has no {name!r}: remove the folder it is in.")
        return found[name]

    def remove(self):
        shutil.rmtree(self.folder)
