"""How a distillation begins: student and critic as copies of the teacher."""

from keras_dmmd import checks
from keras_dmmd.distillation.calls import Calls
from keras_dmmd.distillation.checks import check_no_noise, check_told
from keras_dmmd.models import NoiseConditioning

FEW_CALLS = 4
FEW_WORDS = 256


class Beginning:
    """How the student and the critic that nobody gives are copied from a teacher.

    Args:
        teacher: a model that `check_models` has seen.
        steps: what `read_steps` returned.
        noise: the student's random input; `"auto"` is `default_noise`.
        noise_scale: how strongly it acts at first; `"auto"` is by its kind.
        adapters: a rank, or `None`.
        seed: of the distiller.
    """

    def __init__(self, teacher, steps, noise="auto", noise_scale="auto", adapters=None, seed=0):
        self.teacher, self.steps, self.noise, self.seed = teacher, steps, noise, seed
        self.noise_scale = checks.number("noise_scale", noise_scale, auto=True)
        self.adapters = None if adapters is None else checks.count("adapters", adapters)

    def pair(self, student, critic):
        """A student and a critic: those that are given, or copies.

        Raises:
            ValueError: they do not fit what is asked of them.
        """
        if student is not None and critic is not None:
            self._refuse_adapters("a given student and critic have their own")
        student, critic = self._student(student), critic or self.new_critic()
        check_told(self.steps, critic=critic)
        return student, critic

    def student(self, given):
        """The student of a method without a critic: the one that is given, or a copy."""
        if given is not None:
            self._refuse_adapters("a given student has its own")
        return self._student(given)

    def plain_student(self, given, method):
        """That of a method, which is named, to which a random input would say nothing."""
        if given is None:
            return self._new_student(None)
        self._refuse_adapters("a given student has its own")
        check_no_noise(method, given)
        return given

    def new_student(self):
        """A copy with a random input, which is told how far a step goes where `steps` are several."""
        noise = default_noise(self.teacher, self.steps) if is_auto(self.noise) else self.noise
        student = self._new_student(noise)
        layer = student.capabilities.noise_layer
        if isinstance(layer, NoiseConditioning):
            scale = layer.default_scale if self.noise_scale == "auto" else self.noise_scale
            layer.perturb(scale, self.seed + 6)
        return student

    def new_critic(self):
        """A copy without a random input, which is told what the student is told."""
        return self._copy(seed=self.seed + 4, name="critic")

    def _new_student(self, noise):
        student = self._copy(noise=noise, seed=self.seed + 2, name="student")
        student.steps = Calls.of(self.steps).usual
        return student

    def _student(self, given):
        if given is not None and not (is_auto(self.noise) and self.noise_scale == "auto"):
            raise ValueError(
                "`noise` and `noise_scale` describe the random input of a student that is copied from "
                "the teacher; a given `student` brings its own. Received: "
                f"noise={checks.shown(self.noise)}, noise_scale={self.noise_scale} and a student"
            )
        student = given or self.new_student()
        check_told(self.steps, student=student)
        return student

    def _refuse_adapters(self, reason):
        if self.adapters is not None:
            raise ValueError(f"`adapters` are those of copies: {reason}.")

    def _copy(self, **kwargs):
        """A copy that can be trained: adapters beside shared weights, or floats of its own."""
        merges = self.teacher.is_quantized and self.adapters is None
        origin = self.teacher.merged() if merges else self.teacher
        told = {"step_conditioning": True} if Calls.of(self.steps).several else {}
        return origin.copy(adapters=self.adapters, **told, **kwargs)


def is_auto(value):
    """Whether an argument is left to its default: a value may be an array, which equals no string."""
    return isinstance(value, str) and value == "auto"


def default_renoise(process):
    """`"posterior"` where open tokens carry no trace of `z_t`, else `"mixed"` (benchmarks/toy.py)."""
    return "posterior" if process.absorbing else "mixed"


def default_times(process, steps):
    """`"grid"` for one call or two where the start is random, else `"random"`.

    There times of the grid are far ahead (benchmarks/toy.py, docs/results.md). With more calls they
    gain nothing, under masked diffusion they gain on some data and lose on others, and students by
    random times are better in other numbers of calls than their own.
    """
    few = Calls.of(steps).always_at_most(2)
    return "grid" if few and not process.constant_prior else "random"


def default_student_temperature(process):
    """2 for masked diffusion of few words, else 1 (docs/results.md).

    Permutations, proteins and texts gained by it, masked images were level, and uniform ones lost or
    were level. Of many words the square roots are mostly those of words that nobody would write.
    """
    return 2.0 if process.absorbing and process.vocabulary_size <= FEW_WORDS else 1.0


def default_noise(teacher, steps):
    """`"token"`, `"gaussian"` or `None`, by the process, the shape of the data and the number of calls.

    From a constant start a student without a random input has one prediction for all samples: in one
    call it can only draw each token on its own. Random tokens act from the start. They halve the
    distance of images that are drawn in one call or two (benchmarks/calls.py, docs/results.md). With
    few calls a sequence needs them where its data have a symmetry that noise which starts from nothing
    cannot break, as permutations have (benchmarks/puzzles.py); with many, texts gain nothing by them,
    and molecules lose.
    """
    if not teacher.process.constant_prior:
        return None
    few = Calls.of(steps).always_at_most(FEW_CALLS)
    return "token" if few or teacher.capabilities.grid is not None else "gaussian"
