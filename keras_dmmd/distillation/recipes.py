"""What the arguments of D-MMD are where nobody says: by what did best here, or by the paper."""

from keras_dmmd import checks
from keras_dmmd.distillation.beginnings import (
    default_renoise,
    default_student_temperature,
    default_times,
    is_auto,
)

RECIPES = ("default", "paper")
# Of arXiv 2603.20155; its random input is chosen apart, since it compares several.
PAPER = {
    "times": "random",
    "renoise": "posterior",
    "teacher_weight": 1.0,
    "time_weighting": "nelbo",
    "max_log_ratio": None,
    "student_temperature": 1.0,
}


def resolved(recipe, given, teacher, steps, copies):
    """Arguments in which nothing is `"auto"`, but for the noise of a student that is given.

    Args:
        recipe: one of `RECIPES`.
        given: a dict of the arguments in `PAPER`, and `noise`.
        teacher: the model that is distilled.
        steps: what `read_steps` returned.
        copies: whether the student is a copy of the teacher.

    Raises:
        ValueError: an argument contradicts the paper's recipe.
    """
    checks.choice("recipe", recipe, RECIPES)
    if recipe == "paper":
        wanted = PAPER
        for name, value in PAPER.items():
            if not is_auto(given[name]) and not _same(given[name], value):
                raise ValueError(
                    f'`recipe="paper"` has {name}={value!r}: leave `{name}` out, or leave out the '
                    f"recipe. Received: {name}={checks.shown(given[name])}"
                )
    else:
        wanted = {"teacher_weight": 0.0, "time_weighting": "constant", "max_log_ratio": 3.0}
        wanted["renoise"] = default_renoise(teacher.process)
        wanted["times"] = default_times(teacher.process, steps)
        wanted["student_temperature"] = default_student_temperature(teacher.process)
    found = {**given, **{k: v for k, v in wanted.items() if is_auto(given[k])}}
    if recipe == "paper" and copies and is_auto(given["noise"]):
        found["noise"] = _paper_noise(teacher)
    return found


def _paper_noise(teacher):
    """A pyramid of Gaussian noise for images, Gaussian noise for text, none where `z_1` is random."""
    if not teacher.process.constant_prior:
        return None
    return "gaussian" if teacher.capabilities.grid is None else "pyramid"


def _same(value, wanted):
    """Whether a value, of any type, is this string, number or `None`; a bool is no number."""
    if wanted is None or isinstance(wanted, str):
        return value is wanted or (isinstance(value, str) and value == wanted)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == wanted
