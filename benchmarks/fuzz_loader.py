"""Loads files of strangers and says what came of it; as a program, one per line of its input.

echo '["preset", "runs/fuzz/some_preset"]' | python -m benchmarks.fuzz_loader runs/fuzz/canary
"""

import json
import os
import resource
import sys
import time

TEXT = "the union of the States, 12 naïve ducks\n"
ROOM = 8 * 2**30  # bytes of addresses beyond which an allocation fails here, and not on the machine
MB = 2**20


def small_model():
    """The model that all checkpoints are of."""
    import keras_dmmd as kd

    denoiser = kd.Denoiser(5, hidden_dim=16, num_layers=2, num_heads=2, cond_dim=8)
    model = kd.DiffusionModel(denoiser, kd.MaskedDiffusion(5), length=6)
    model.compile()
    return model


class Loader:
    """Loads one file after the other, and measures each.

    Args:
        canary: a path that nothing makes but code in a file.
    """

    def __init__(self, canary):
        self.canary = canary
        self._model = None

    def load(self, kind, path):
        """Load a file as its user would.

        Args:
            kind: `"preset"`, a folder; `"tokenizer"`, `"checkpoint"` or `"network"`, a file.
            path: of it.

        Returns:
            A dict: `"outcome"`, "loads", "refused" or "unclear"; `"error"`, what was said; `"cpu"`,
            seconds of the processor; `"memory"`, bytes more at most than before.
        """
        before, start, error = reset_peak(), time.process_time(), None
        try:
            getattr(self, f"_{kind}")(path)
        except BaseException as caught:
            error = caught
        found = {"cpu": time.process_time() - start, "memory": max(0, peak() - before)}
        if error is None:
            found |= {"outcome": "loads", "error": ""}
        else:
            named = isinstance(error, (ValueError, OSError)) and path in str(error)
            text = f"{type(error).__name__}: {error}"[:600]
            found |= {"outcome": "refused" if named else "unclear", "error": text}
        if os.path.exists(self.canary):
            found |= {"outcome": "unclear", "error": f"EXECUTED: the canary is there; {found['error']}"}
        return found

    def _preset(self, path):
        import keras_dmmd as kd

        kd.from_preset(path)

    def _network(self, path):
        from keras_dmmd.conversion import load_dit

        load_dit(path, length=8)

    def _checkpoint(self, path):
        if self._model is None:
            self._model = small_model()
        self._model.load_weights(path)

    def _tokenizer(self, path):
        from keras_dmmd.tokenizers import BytePairTokenizer

        tokenizer = BytePairTokenizer.from_file(path)
        try:
            ids = tokenizer.encode(TEXT)
        except ValueError as error:  # which cannot know of the file
            raise ValueError(f"{path}: {error}") from error
        assert tokenizer.decode(ids) == TEXT and ids.max() < tokenizer.vocabulary_size


def reset_peak():
    """Forget the most memory that was resident, where the system can; returns what is resident now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return _status("VmRSS:")
    except OSError:
        return peak()


def peak():
    """The most bytes that were resident since `reset_peak`, or since ever where the system cannot."""
    try:
        return _status("VmHWM:")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def _status(name):
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith(name)).split()[1])


def limit_memory():
    """An absurd allocation is then an error of this process."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize:") + ROOM, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        pass


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    loader = Loader(sys.argv[1])
    import keras_dmmd  # noqa: F401

    limit_memory()
    for line in sys.stdin:
        print(json.dumps(loader.load(*json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
