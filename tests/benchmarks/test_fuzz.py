import pytest

from benchmarks import fuzz, fuzz_world

# What neither builds nor compiles a network.
QUICK = r"kd\.(Gap|samplers|schedules|tokenizers|losses|datasets\.(pack|split|text8))|characters"
QUICK += r"|kd\.metrics\.(total|Note|known|mean|SampleScore|unigram|frechet_distance|FeatureStatistics)"


@pytest.mark.plain
def test_every_parameter_of_the_public_api_has_good_values():
    for target in fuzz_world.targets():
        for name in fuzz_world.parameters(target):
            assert fuzz_world.good_values(target, name)


def test_drawn_calls_are_clear(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = fuzz_world.Namespace()
    found = fuzz.run(300, 0, 60.0, lambda call: fuzz.try_call(call, names), QUICK)
    outcomes = {result["outcome"] for _, result in found}
    assert len(found) == 300 and {"returned", "refused"} <= outcomes
    assert fuzz.distinct(found) == []


@pytest.mark.plain
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("`n` must be an integer. Received: n='abc'"), "refused"),
        (TypeError("f() got an unexpected keyword argument 'n'"), "refused"),
        (ValueError("It must be an integer. Received: 'abc'"), "refused"),
        (FileNotFoundError("No such file: abc"), "refused"),
        (TypeError("'<' not supported between instances of 'int' and 'str'"), "words"),
        (ValueError("invalid literal for int() with base 10: 'abc'"), "words"),
        (ValueError("`n` must be" + 3000 * "."), "words"),
        (OSError("Bad file descriptor"), "words"),
        (AttributeError("`n` must be an integer"), "type"),
        (KeyError("n"), "type"),
    ],
)
def test_what_is_clear(error, outcome):
    assert fuzz.verdict(["n"], error, {"n": "'abc'"}) == outcome


@pytest.mark.plain
@pytest.mark.slow
def test_a_call_that_hangs_or_dies_is_reported_and_others_go_on():
    caller = fuzz.Caller(patience=2.0, files=False)
    hangs = fuzz.Call("__import__('threading').Event().wait", (("timeout", "60"),))
    dies = fuzz.Call("__import__('os')._exit", (("status", "3"),))
    good = fuzz.Call("kd.Gap", (("tokens", "3"),))
    try:
        outcomes = [caller(call)["outcome"] for call in (good, dies, hangs)]
    finally:
        caller.end()
    assert outcomes == ["returned", "died", "hang"]
