"""Errors of functions in the words of who typed a command."""

import re

# Arguments whose options have other names.
ALIASES = {
    "guidance_scale": "guidance",
    "vocabulary_size": "vocabulary",
    "size": "image_size",
    "weights": "int8",
}
NO_OPTIONS = ("run", "command", "line", "model", "models")
# What only a program can give.
OBJECTS = " or a keras_dmmd.samplers.Stepper"


def one_sentence(error, args):
    """What is said of an error: a line, with options in the place of the arguments of functions.

    Args:
        args: what the command line said; its names are those of the options.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.replace(OBJECTS, "")
    options = vars(args).keys() - set(NO_OPTIONS)

    def option(found):
        name, value = found.groups(default="")
        names = [ALIASES.get(name, name), f"{name}s"]
        if name == "labels" and "label" in options:
            names.insert(0, "label")
        if name == "path" and args.command == "export":
            names.insert(0, "out")
        known = next((name for name in names if name in options), None)
        if known is None:
            return found[0]
        if known == "data" and args.command == "train":
            return "DATA"
        dashes = "-" if len(known) == 1 else "--"
        is_flag = isinstance(vars(args)[known], bool)
        said = " " + value.strip("'\"") if value and not is_flag else ""
        return f"`{dashes}{known.replace('_', '-')}{said}`"

    text = re.sub(r"`(\w+)(?:=([^`\s]*))?`", option, text)
    return re.sub(r"(?<=Received: )(\w+)=([^`\s]*)", option, text)
