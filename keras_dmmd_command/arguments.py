"""What the command line takes. Nothing is imported here that takes time: see `keras_dmmd_command`."""

import argparse
import codecs
import re

DESCRIPTION = (
    "Train, distil, sample, export and evaluate models of discrete data, from files, without code."
)
# Those of keras_dmmd.Denoiser.sizes, as they are read.
SIZES = {
    "nano": "2 layers of 32 features, 50 thousand weights, to see that all goes well",
    "tiny": "4 layers of 128 features, a million weights",
    "small": "8 layers of 384 features, 17 million",
    "base": "12 layers of 768 features, 92 million",
}
EPILOG = """\
MODEL is the name of a preset that ships (keras-dmmd info lists them), a folder that keras-dmmd train or
distill or save_to_preset wrote, a .keras file that model.save wrote, or a handle such as hf://user/name.
DATA is text, a file or a folder of .txt files; a .smi file of SMILES; FASTA (.fasta, .fa, .faa, .fna);
a table with a header (.csv, .tsv), a column of which is text; a folder of images, or of one folder for
each class; or a .npy file of ids, (n, length). What train made reads other data as it read its own.

The backend is that of Keras: KERAS_BACKEND=jax, tensorflow or torch.

examples:
  keras-dmmd info
  keras-dmmd info digits_masked_student
  keras-dmmd generate sotu_chars_student -n 2 --prompt "the president said "
  keras-dmmd generate sotu_chars_teacher --prompt "we must " --gap 40 --prompt " for the people"
  keras-dmmd train letters/ --minutes 60 --out my_teacher
  keras-dmmd distill my_teacher --data letters/ --steps 16 --rounds 500 --out my_student
  keras-dmmd evaluate my_teacher my_student --steps 8 16 32 --data letters/ --out report
  KERAS_BACKEND=torch keras-dmmd export my_student --out my_student.onnx --int8
  keras-dmmd doctor
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help says what there is)\n")


def parser():
    """The parser of `keras-dmmd`; `run` of what it returns is `module:function`, a command."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    top = Parser("keras-dmmd", description=DESCRIPTION, epilog=EPILOG, **raw)
    subparsers = top.add_subparsers(dest="command", required=True)

    def command(name, text, module="keras_dmmd.cli.commands"):
        sub = subparsers.add_parser(name, help=text, description=text, epilog=EPILOG, **raw)
        sub.set_defaults(run=f"{module}:{name}")
        return sub

    sub = command("info", "Say what a model is and what was measured, or which presets ship.")
    sub.add_argument("model", nargs="?", metavar="MODEL")
    _train(command("train", "Train a model on your own data, from the start.", "keras_dmmd.cli.train"))
    _generate(command("generate", "Write samples of a model.", "keras_dmmd.cli.generate"))
    _distill(command("distill", "Distil a teacher into a student of few network calls."))
    _export(command("export", "Write a model's sampler to a file that runs without Keras."))
    _evaluate(command("evaluate", "Compare models over network calls and temperatures."))
    command(
        "doctor",
        "Say what is installed, and try it: a tiny model trains, distils and samples.",
        "keras_dmmd_command.doctor",
    )
    return top


def _generate(sub):
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("-n", type=int, help="samples, or of each of --prompts [4, or 1]")
    sub.add_argument("--steps", type=int, help="network calls per sample [the model's own]")
    sub.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="how every sample begins, of a model with a tokenizer; several go on after gaps",
    )
    sub.add_argument(
        "--gap",
        dest="prompt",
        action="append",
        type=_gap,
        metavar="TOKENS",
        help="a place of so many tokens for the model to fill, before or after a --prompt",
    )
    sub.add_argument("--prompts", metavar="FILE", help="prompts, one a line, instead of --prompt")
    sub.add_argument("--length", type=int, help="tokens of a sample [those of the training data]")
    sub.add_argument(
        "--max-length", type=int, help="the same, but that of a model of blocks the last may be cut"
    )
    _classes(sub)
    sub.add_argument("--temperature", type=float, default=1.0, help="of the predictions [%(default)s]")
    sub.add_argument("--sampler", help="by name, such as confidence [the model's own]")
    sub.add_argument("--batch-size", type=int, help="samples drawn at once")
    sub.add_argument("--seed", type=int, default=0, help="the same gives the same [%(default)s]")
    sub.add_argument(
        "--separator", type=_unescaped, default="\n", help="what stands between texts [a line break]"
    )
    sub.add_argument(
        "--out",
        help="a .npy file for the ids, a .png for images, or another file for texts [the terminal]",
    )
    sub.add_argument(
        "--trajectory",
        metavar="FILE",
        help="how they came to be, call by call: an animation, .gif, or a page, .html",
    )


def _train(sub):
    sub.add_argument("data", metavar="DATA")
    _reading(sub)
    sub.add_argument(
        "--tokenizer",
        help="characters (those that occur), bytes, bpe (learned), smiles, or a tokenizer.json "
        "[smiles for SMILES, else characters]",
    )
    sub.add_argument("--end-token", help="of a tokenizer.json, what ends a text [<|endoftext|>]")
    sub.add_argument("--vocabulary", type=int, help="tokens of --tokenizer bpe [2048]")
    sub.add_argument(
        "--length",
        type=int,
        help="tokens of a sample [128 of text, else those of the longest, 256 at most]",
    )
    sub.add_argument("--image-size", type=_size, metavar="ROWSxCOLUMNS", help="[that of the images]")
    sub.add_argument("--levels", type=int, help="values of a pixel, or of a channel of it [16]")
    sub.add_argument("--held-out", type=float, default=0.1, help="share of the data [%(default)s]")
    sub.add_argument("--process", choices=("masked", "uniform"), default="masked", help="[%(default)s]")
    sub.add_argument(
        "--size", choices=SIZES, default="tiny", help="; ".join(f"{k}: {v}" for k, v in SIZES.items())
    )
    sub.add_argument(
        "--blocks", type=int, metavar="TOKENS", help="write block after block of so many [all at once]"
    )
    sub.add_argument("--dropout", type=float, default=0.0, help="in the network's blocks [%(default)s]")
    long = sub.add_mutually_exclusive_group()
    long.add_argument("--updates", type=int, help="of the weights [5000]")
    long.add_argument("--minutes", type=float, help="as many updates as these hold, measured at first")
    sub.add_argument("--every", type=int, help="updates between two looks [a twentieth, 500 at most]")
    sub.add_argument("--batch-size", type=int, default=32, help="rows of an update [%(default)s]")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="at most [%(default)s]")
    sub.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        help="of the network's numbers; mixed_bfloat16 is for accelerators [Keras's]",
    )
    sub.add_argument("--license", help="of the model, for its card: such as apache-2.0")
    sub.add_argument("--seed", type=int, default=0, help="the same gives the same [%(default)s]")
    sub.add_argument(
        "--out",
        required=True,
        help="the folder of the model, and of a checkpoint on the way: the same command goes on from "
        "that where it was interrupted",
    )


def _distill(sub):
    sub.add_argument("model", metavar="TEACHER")
    _data(sub, "what the teacher learned from, see below", required=True)
    sub.add_argument("--steps", type=int, default=8, help="network calls to train for [%(default)s]")
    sub.add_argument("--rounds", type=int, default=500, help="critic and student updates [%(default)s]")
    sub.add_argument("--batch-size", type=int, default=32, help="[%(default)s]")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="at first [%(default)s]")
    sub.add_argument("--temperature", type=float, default=1.0, help="of the teacher [%(default)s]")
    sub.add_argument("--top-p", type=float, help="nucleus of the teacher")
    sub.add_argument("--guidance", type=float, help="strength of the teacher's guidance by --labels")
    sub.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    sub.add_argument(
        "--out",
        required=True,
        help="the folder of the student, and of a checkpoint on the way: the same command goes on from "
        "that where it was interrupted",
    )


def _export(sub):
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument(
        "--out",
        required=True,
        help="a file .onnx or .pt2 (on Torch), .stablehlo (on JAX) or .tflite (on TensorFlow), or a "
        "folder for a SavedModel (on TensorFlow); what it takes stands beside it, in a file .json",
    )
    sub.add_argument("--format", help="onnx, torch, stablehlo, litert, saved_model [that of --out]")
    sub.add_argument(
        "--kind",
        default="sampler",
        help="sampler: all calls; step: one; prior: the canvas before the first [%(default)s]",
    )
    sub.add_argument("--batch", type=int, help="samples at once [any number]")
    sub.add_argument("--length", type=int, help="tokens of a sample [those of the training data]")
    sub.add_argument("--steps", type=int, help="network calls per sample [the model's own]")
    sub.add_argument("--sampler", help="by name, such as confidence [the model's own]")
    sub.add_argument("--temperature", type=float, default=1.0, help="of the predictions [%(default)s]")
    sub.add_argument("--top-p", type=float, help="nucleus in (0, 1]")
    sub.add_argument("--guidance", type=float, help="strength of guidance by labels")
    sub.add_argument("--int8", action="store_true", help="weights as integers: a quarter of the size")


def _evaluate(sub):
    sub.add_argument("models", nargs="+", metavar="MODEL")
    sub.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16], help="[4 8 16]")
    sub.add_argument("--samplers", nargs="+", help="by name, such as confidence [the model's own]")
    sub.add_argument("--temperatures", type=float, nargs="+", default=[1.0], help="[1]")
    sub.add_argument("--samples", type=int, help="per cell and seed [500, or what --data allow]")
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="[0 1 2]")
    _classes(sub)
    _data(sub, "real data: one half to learn a judge from, the other to compare with")
    sub.add_argument("--features", help="image features, such as digits_features: Fréchet distances")
    sub.add_argument(
        "--reference",
        help="a language model, such as sotu_chars_reference or a folder: bits per character, and the "
        "gradient moment where its tokens are those of the models",
    )
    sub.add_argument("--title", default="Samplers", help="of the page [%(default)s]")
    sub.add_argument("--out", required=True, help="the folder of report.html, .json and .csv")


def _classes(sub):
    sub.add_argument(
        "--label", help="a class, of a model with classes: its number, or name in the data"
    )
    sub.add_argument("--guidance", type=float, help="strength of guidance by the --label")
    sub.add_argument("--top-p", type=float, help="nucleus in (0, 1]")


def _data(sub, text, required=False):
    sub.add_argument("--data", required=required, help=text)
    _reading(sub)


def _reading(sub):
    """How data are read."""
    sub.add_argument("--labels", help="a .npy file of the classes, (n,), of the rows of a .npy file")
    sub.add_argument(
        "--separator", type=_unescaped, help=r"what divides the texts of a file, such as '\n\n'"
    )
    sub.add_argument("--whole", action="store_true", help="no row holds parts of two texts")
    sub.add_argument("--lines", action="store_true", help=r"the same as --separator '\n' --whole")
    sub.add_argument("--column", help="header of the texts of a table [text, or the only one]")
    sub.add_argument("--label-column", help="header of the classes of a table's rows")
    sub.add_argument("--color", action="store_true", help="images in red, green and blue [grey]")


def _gap(text):
    """So many tokens, an int; a prompt is a string."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens, which is at least 1")
    return int(text)


def _size(text):
    """`28x28` as rows and columns."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 28x28")
    return tuple(map(int, found.groups()))


def _unescaped(text):
    r"""A separator as it is typed in a shell, where `\n` is two characters."""
    if not text:
        raise argparse.ArgumentTypeError("a separator must not be empty")
    return re.sub(r"\\[ntr\\]", lambda found: codecs.decode(found[0], "unicode_escape"), text)
