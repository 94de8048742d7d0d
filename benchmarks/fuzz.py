"""Calls of the public API with good and bad arguments: is each bad one refused, at once, clearly?

    python -m benchmarks.fuzz --count 10000 --seconds 240
    python -m benchmarks.fuzz --call "kd.Gap(tokens=nan)"

Calls are drawn from signatures by hypothesis: good values by the names of parameters, and in most
calls one or two in whose place stands something else. They run in a process of their own, which is
watched: a call that hangs, dies or grows is reported, and the next begins in a new process.

A call is clear where it returns, or raises a `ValueError` or `TypeError` (an `OSError` where a path was
given) that names what was wrong, or shows it and says what it must be. Within a second: a slower one is
called again, since the first time may have been spent on compiling.
"""

import argparse
import collections
import contextlib
import dataclasses
import multiprocessing
import os
import re
import sys
import tempfile
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import hypothesis
from hypothesis import strategies as st

from benchmarks.common import print_table, write_json

SECONDS = 1.0  # in which a call is refused
GROWTH = 512 * 2**20  # bytes by which a refused call may raise the peak of memory
LONGEST = 2000  # characters of a message
CALLS_PER_PROCESS = 2000
# What else a message may call an argument.
ALSO = {"texts": ["text"], "documents": ["text"], "prompts": ["text"], "samples": ["n"]}
ALSO |= {"molecules": ["symbols"], "notes": ["text"], "samplers": ["sampler"]}
ALSO |= {"x": ["tokens", "ids"], "y": ["labels"], "inputs": ["tokens"], "definition": ["tokenizer"]}
ALSO |= {
    "time_schedule": ["schedule"],
    "student_optimizer": ["optimizer"],
    "critic_optimizer": ["optimizer"],
}
UNCLEAR = ("type", "words", "slow", "hang", "died", "memory")


@dataclasses.dataclass(frozen=True)
class Call:
    """A call as text.

    Attributes:
        target: an expression of what is called.
        arguments: pairs of names and expressions.
        bad: names of those that are not good values.
    """

    target: str
    arguments: tuple
    bad: tuple = ()

    def __str__(self):
        return f"{self.target}({', '.join(f'{name}={value}' for name, value in self.arguments)})"


# Drawing ------------------------------------------------------------------------------------------


def calls(targets, signatures, good_values, hostile, mutations, always_good=()):
    """A strategy of `Call`s.

    Args:
        targets: a dict of expressions to how often they are called.
        signatures: of each a dict of its parameters to whether they are required.
        good_values: a function `(target, parameter)` to expressions of good values.
        hostile: expressions of values that are good for few parameters.
        mutations: what makes bad values of a good one, `{0}`.
        always_good: parameters that are given no bad value.
    """
    weighted = [target for target, weight in sorted(targets.items()) for _ in range(weight)]
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary()
    anything = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        ),
        max_leaves=3,
    )

    @st.composite
    def strategy(draw):
        # Which function and which arguments: evenly, where hypothesis would come back to the same ones.
        choose = draw(st.randoms(use_true_random=True))
        target = choose.choice(weighted)
        required = signatures[target]
        given = {
            name: choose.choice(good_values(target, name))
            for name, needed in required.items()
            if needed or choose.random() < 0.2
        }
        number = choose.choice((0, 1, 1, 1, 1, 1, 2))
        open_to_bad = sorted(set(required) - set(always_good))
        bad = choose.sample(open_to_bad, min(number, len(open_to_bad))) or ["nonsense"] * number
        for name in bad:
            kind = choose.choice(("hostile", "mutation", "anything")) if name in required else "hostile"
            if kind == "mutation":
                good = given.get(name, choose.choice(good_values(target, name)))
                given[name] = choose.choice(mutations).format(good)
            else:
                given[name] = choose.choice(hostile) if kind == "hostile" else repr(draw(anything))
        return Call(target, tuple(given.items()), tuple(sorted(set(bad))))

    return strategy()


def drawn(strategy, count, seed):
    """`count` calls, always the same for a seed."""
    found = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(call):
        found.append(call)

    collect()
    return found


# Judging ------------------------------------------------------------------------------------------


def verdict(parameters, error, shown):
    """`"refused"` for a clear error, or what is unclear about it: `"type"` or `"words"`.

    Args:
        parameters: names of those of the function.
        error: what it raised.
        shown: of every argument what it was, as text.
    """
    message = str(error)
    names = {*parameters, *shown}
    called = [other for name in names for other in (name, *ALSO.get(name, ()))]
    # As `name`, 'name', name= or Keras's "Argument name".
    forms = [
        rf"[`']{re.escape(name)}[`'=]|\b{re.escape(name)}=|Argument `?{re.escape(name)}\b"
        for name in called
    ]
    named = any(re.search(form, message) for form in forms) or "takes no arguments" in message
    parts = [text[:15] for text in shown.values() if len(text) > 2]
    says = re.search(r"\b(must|needs?|takes?|one of|only|expected|cannot|fewer|lacks|no)\b", message)
    named = named or (says and any(part in message for part in parts))
    if isinstance(error, OSError) and not isinstance(error, (TimeoutError, ConnectionError)):
        return "refused" if named or any(part.strip("'") in message for part in parts) else "words"
    if isinstance(error, ImportError):
        return "refused" if "pip install" in message else "words"
    if not isinstance(error, (ValueError, TypeError)):
        return "type"
    return "refused" if named and len(message) <= LONGEST else "words"


# The process that calls -----------------------------------------------------------------------------


def peak_memory():
    """Bytes at the most so far, or 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def try_call(call, names):
    """Make a call once: its outcome, seconds, words and place."""
    from benchmarks import fuzz_world
    from keras_dmmd.checks import shown

    try:
        function = eval(call.target, names)
        arguments = {name: eval(value, names) for name, value in call.arguments}
    except Exception as error:  # what a bad value is made of has no such method
        return {"outcome": "no call", "seconds": 0.0, "words": repr(error), "place": ""}
    # A path of bytes is shown as text.
    texts = {k: shown(os.fsdecode(v) if isinstance(v, bytes) else v) for k, v in arguments.items()}
    start, before = time.perf_counter(), peak_memory()
    try:
        function(**arguments)
        outcome, words, place = "returned", "", ""
    except Exception as error:
        outcome = verdict(fuzz_world.parameters(call.target), error, texts)
        words = f"{type(error).__name__}: {str(error)[:400]}"
        place = place_of(error)
        if outcome == "refused" and peak_memory() - before > GROWTH:
            outcome = "memory"
    return {"outcome": outcome, "seconds": time.perf_counter() - start, "words": words, "place": place}


def place_of(error):
    """The last line of this library, or else of all, that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}keras_dmmd{os.sep}" in frame.filename]
    frame = (own or frames)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"


def judged(call, names):
    """Make a call, again where it was refused slowly."""
    found = try_call(call, names)
    if found["outcome"] == "refused" and found["seconds"] > SECONDS:
        found = try_call(call, names)
        if found["outcome"] == "refused" and found["seconds"] > SECONDS:
            found["outcome"] = "slow"
    return found


def work(connection, folder, files):
    """Make the calls that come through a connection, and send back what became of them."""
    import warnings

    from benchmarks import fuzz_world

    warnings.simplefilter("ignore")
    sys.stdout = sys.stderr = open(os.devnull, "w")
    os.dup2(sys.stderr.fileno(), 2)
    os.chdir(folder)
    names = fuzz_world.Namespace()
    if files:
        fuzz_world.files(names)
    limit_memory()
    connection.send("ready")
    while True:
        call = connection.recv()
        connection.send(judged(call, names))
        names.renew()


def limit_memory(more=4 * 2**30):
    """Let this process have so many bytes more, so that it does not bring the machine down."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (peak_memory() + more, -1))


class Caller:
    """A process that makes calls, replaced where one hangs or dies.

    Args:
        patience: seconds after which a call hangs.
        files: whether to write the files that good values name.
    """

    def __init__(self, patience, files=True):
        self.patience, self.files, self.process, self.made = patience, files, None, 0
        self.folder = tempfile.TemporaryDirectory()

    def _begin(self):
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(other, self.folder.name, self.files), daemon=True
        )
        self.process.start()
        other.close()
        self.made = 0
        if not self.connection.poll(300) or self.connection.recv() != "ready":
            raise RuntimeError("The process that makes the calls did not begin.")

    def __call__(self, call):
        if self.process is None or self.made >= CALLS_PER_PROCESS:
            self.end()
            self._begin()
        self.made += 1
        start = time.perf_counter()
        outcome = "hang"
        try:
            self.connection.send(call)
            if self.connection.poll(self.patience):
                return self.connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            outcome = "died"
        self.end()
        return {"outcome": outcome, "seconds": time.perf_counter() - start, "words": "", "place": ""}

    def end(self):
        """Stop the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
        self.process = None


# Together -----------------------------------------------------------------------------------------


def run(count, seed, seconds, make, only=""):
    """Draw calls, and make them as far as there is time.

    Args:
        count: calls to draw.
        seed: of the drawing.
        seconds: after which none is begun.
        make: a function of a `Call`, such as a `Caller`.
        only: a regular expression of functions.

    Returns:
        A list of pairs of a `Call` and a dict with its `"outcome"`, `"seconds"`, `"words"`, `"place"`.
    """
    from benchmarks import fuzz_world as world

    targets = {name: weight for name, weight in world.targets().items() if re.search(only, name)}
    signatures = {name: world.parameters(name) for name in targets}
    strategy = calls(
        targets, signatures, world.good_values, world.HOSTILE, world.MUTATIONS, world.ALWAYS_GOOD
    )
    start, found = time.perf_counter(), []
    for call in drawn(strategy, count, seed):
        if time.perf_counter() - start > seconds:
            break
        found.append((call, make(call)))
    return found


def distinct(found):
    """Of unclear calls that fail alike the shortest, with how many there are: `[(call, result, n)]`."""
    groups = collections.defaultdict(list)
    for call, result in found:
        if result["outcome"] in UNCLEAR:
            kind = result["words"].split(":")[0]
            groups[call.target, result["outcome"], result["place"], kind].append((call, result))
    shortest = [
        (*min(group, key=lambda pair: len(str(pair[0]))), len(group)) for group in groups.values()
    ]
    return sorted(shortest, key=lambda case: str(case[0]))


def table(found):
    """A row for each function: how many calls had which outcome."""
    rows = collections.defaultdict(collections.Counter)
    for call, result in found:
        rows[call.target][result["outcome"]] += 1
        rows["all"][result["outcome"]] += 1
    columns = ["returned", "refused", "no call", *UNCLEAR]
    columns = [name for name in columns if rows["all"][name] or name in columns[:2]]
    cells = [{"function": name, **{c: rows[name][c] for c in columns}} for name in sorted(rows)]
    return cells, ["function", *columns]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which none is begun")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a call hangs")
    parser.add_argument("--only", default="", help="a regular expression of functions")
    parser.add_argument("--call", help="make one call, and show what comes of it")
    parser.add_argument("--path", default=None, help="a folder to write the table to")
    args = parser.parse_args(argv)
    if args.call:
        from benchmarks import fuzz_world

        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            names = fuzz_world.Namespace()
            fuzz_world.files(names)
            print(eval(args.call, names))
        return 0
    caller = Caller(args.patience)
    try:
        found = run(args.count, args.seed, args.seconds, caller, args.only)
    finally:
        caller.end()
    rows, columns = table(found)
    print_table(rows, columns)
    unclear = distinct(found)
    for call, result, number in unclear:
        print(f"{result['outcome']} ({number}×, {result['seconds']:.1f} s, {result['place']}): {call}")
        print(f"    {result['words']}")
    total = sum(number for *_, number in unclear)
    print(f"{len(found)} calls, {total} unclear, {len(unclear)} distinct")
    if args.path is not None:
        write_json("fuzz", rows, vars(args), folder=args.path)
    return int(bool(unclear))


if __name__ == "__main__":
    sys.exit(main())
