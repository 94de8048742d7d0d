"""Sweeps of exact denoisers, whose figures are known, and of what goes wrong with them."""

import csv
import json
import warnings

import numpy as np
import pytest

import keras_dmmd as kd
from keras_dmmd import metrics
from keras_dmmd.evaluation import Report, step_entropies
from tests.builders import ON_TORCH, randomise, reference, small_model
from tests.oracles import toy
from tests.oracles.exact_denoiser import ExactDenoiser

# Sweeps call `generate` and count: what depends on the backend has tests of its own.
pytestmark = ON_TORCH

SUPPORT, PROBABILITIES = toy.random_modes(0)


def exact_model():
    process = kd.MaskedDiffusion(3)
    return kd.DiffusionModel(ExactDenoiser(SUPPORT, PROBABILITIES, process), process, length=5)


def distance():
    return metrics.SampleScore(
        lambda ids: metrics.total_variation(ids, SUPPORT, PROBABILITIES), "total_variation"
    )


def sweep(models=None, **kwargs):
    arguments = {"steps": [1, 64], "metrics": [distance(), metrics.UnigramEntropy()], "samples": 400}
    arguments |= {"seeds": (0, 1), "verbose": 0, **kwargs}
    return kd.evaluate(models or {"exact": exact_model()}, **arguments)


def test_figures_and_files(tmp_path):
    data = toy.samples(SUPPORT, PROBABILITIES, 2000, 5)
    report = sweep(reference_data=data, folder=tmp_path, temperatures=(1.0, 0.5))
    assert [(row["model"], row["steps"], row["temperature"]) for row in report.rows] == [
        ("data", None, 1.0),
        ("exact", 1, 1.0),
        ("exact", 64, 1.0),
        ("exact", 1, 0.5),
        ("exact", 64, 0.5),
    ]
    real, one, many = report.rows[:3]
    # One call draws positions apart, 64 nearly one after the other.
    assert real["total_variation"] < 0.1 and many["total_variation"] < 0.2
    assert one["total_variation"] > 0.4
    assert 0 < one["total_variation_error"] < 0.05 and one["seeds"] == 2
    assert many["seconds_per_sample"] > 0
    assert Report.load(tmp_path) == report
    with open(tmp_path / "report.csv") as file:
        lines = list(csv.DictReader(file))
    assert float(lines[2]["total_variation"]) == pytest.approx(many["total_variation"])
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert "±" in str(report) and "exact" in str(report)
    assert report.machine["backend"] and report.settings["seeds"] == [0, 1]


def test_the_same_call_gives_the_same_figures_and_goes_on(tmp_path, monkeypatch):
    """Interrupted after its first cell, it does not do that again; more steps and seeds may follow."""
    model, drawn = exact_model(), []
    generate = model.generate

    def limited(n, steps, seed, **kwargs):
        drawn.append((steps, seed))
        if len(drawn) == limit:
            raise KeyboardInterrupt
        return generate(n, steps=steps, seed=seed, **kwargs)

    monkeypatch.setattr(model, "generate", limited)
    limit = 4  # a cell draws to compile, to measure, and for the entropies by step
    with pytest.raises(KeyboardInterrupt):
        sweep({"exact": model}, folder=tmp_path)
    limit = None
    before = len(drawn)
    resumed = sweep({"exact": model}, folder=tmp_path)
    assert len(drawn) - before == 3 * 3  # four cells, one of them done
    for row, other in zip(resumed.rows, sweep().rows, strict=True):
        assert {**row, "seconds_per_sample": 0} == {**other, "seconds_per_sample": 0}
    before = len(drawn)
    more = sweep({"exact": model}, folder=tmp_path, steps=[1, 2, 64])
    assert len(drawn) - before == 2 * 3 and [row["steps"] for row in more.rows] == [1, 2, 64]
    with pytest.raises(ValueError, match="other samples"):
        sweep({"exact": model}, folder=tmp_path, samples=300)


def test_a_folder_knows_its_models(tmp_path):
    arguments = {"metrics": [metrics.UnigramEntropy()], "steps": [1], "samples": 8, "folder": tmp_path}
    sweep({"net": randomise(small_model())}, **arguments)
    sweep({"other": exact_model()}, **arguments)  # another name beside it
    with pytest.raises(ValueError, match="other model 'net'"):
        sweep({"net": small_model()}, **arguments)


def test_a_folder_knows_its_metrics(tmp_path):
    """Not by name alone: other features or data, another judge, are another metric."""

    def features(ids):
        return ids[:, :2].astype(float)

    data = toy.samples(SUPPORT, PROBABILITIES, 50, 5)
    arguments = {"steps": [1], "samples": 20, "seeds": (0,), "folder": tmp_path}
    sweep(metrics=[metrics.FrechetDistance(features, data)], **arguments)
    sweep(metrics=[metrics.FrechetDistance(features, data)], **arguments)
    with pytest.raises(ValueError, match="other metric_fingerprints"):
        sweep(metrics=[metrics.FrechetDistance(features, data[:40])], **arguments)


def test_a_sweep_of_one_temperature_shows_it():
    report = sweep(temperatures=(0.5,), steps=[2], seeds=(0,))
    assert len(report.rows[0]["step_entropies"]) == 2
    assert len(report.shown["samples"]["exact"]["2"]) == 16
    from keras_dmmd.evaluation.page import page

    assert "exact: entropy by step" in page(report)


def test_a_sweep_compiles_once_a_model(monkeypatch):
    """Entropies by step too: not anew for every number of calls and seed."""
    from keras_dmmd import backend

    compiled, compile_inference = [], backend.compile_inference

    def counted(function, *args):
        compiled.append(function)
        return compile_inference(function, *args)

    monkeypatch.setattr(backend, "compile_inference", counted)
    report = sweep(steps=[1, 2, 4])
    assert all(len(row["step_entropies"]) == row["steps"] for row in report.rows)
    assert len(compiled) == 2  # the sampler's step, and the entropy of a step


def test_a_plot_of_a_figure(tmp_path):
    report = sweep(reference_data=toy.samples(SUPPORT, PROBABILITIES, 2000, 5), steps=[1, 4])
    axis = report.plot("total_variation")
    (line,) = axis.containers  # one model, with error bars
    one, many = report.rows[1:]
    assert line[0].get_xydata().tolist() == [[1, one["total_variation"]], [4, many["total_variation"]]]
    level = axis.get_lines()[-1]
    assert set(level.get_ydata()) == {report.rows[0]["total_variation"]}
    axis.figure.savefig(tmp_path / "plot.png")
    with pytest.raises(ValueError, match="one of.*total_variation.*figure='fid'"):
        report.plot("fid")


def test_one_seed_takes_the_error_within_its_samples():
    (row,) = sweep(seeds=(3,), steps=[64]).rows
    draws = exact_model().generate(400, steps=64, seed=3)
    mean, error = metrics.unigram_entropy(draws)
    assert row["unigram_entropy"] == pytest.approx(mean)
    assert row["unigram_entropy_error"] == pytest.approx(error)
    assert row["total_variation_error"] is None


def test_step_entropies_of_the_exact_denoiser():
    """At first that of each position alone, averaged; near the end almost none is left."""
    marginal = 0.0
    for position in range(5):
        p = np.bincount(SUPPORT[:, position], weights=PROBABILITIES, minlength=3)
        marginal -= (p[p > 0] * np.log(p[p > 0])).sum() / 5
    entropies = step_entropies(exact_model(), 5, samples=64)
    assert len(entropies) == 5
    assert entropies[0] == pytest.approx(marginal, rel=1e-4)
    assert entropies[-1] < 0.5 * marginal


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {}}, "dict of names"),
        ({"models": {"x": 3}}, "must be built.*'x': 3"),
        ({"models": {"data": None}}, "must be built"),
        ({"steps": []}, "`steps` must be distinct.*empty"),
        ({"seeds": (1, 1)}, "`seeds` must be distinct"),
        ({"metrics": []}, "nothing to measure"),
        ({"metrics": [len]}, "must be StreamingMetrics.*SampleScore"),
        ({"samples": 0}, "at least 1.*0"),
        ({"temperature": 0.5}, r"\['temperature'\] are not for `generate`"),
        ({"prompts": ["text"]}, "must be ids"),
        ({"prompts": [["text"]]}, "must be ids"),
        ({"metrics": [distance(), distance()]}, "Two metrics give a figure 'total_variation'"),
        ({"reference_data": np.zeros((5, 5), int)}, "800.*Received: 5"),
    ],
)
def test_bad_input(change, message):
    arguments = {"models": {"m": exact_model()}, "steps": [1], "metrics": [distance()], "samples": 400}
    with pytest.raises(ValueError, match=message):
        kd.evaluate(**{**arguments, **change})


def test_a_model_does_not_judge_itself():
    model = exact_model()
    metric = distance()
    metric.judge = model
    with pytest.raises(ValueError, match="one of the models it judges"):
        kd.evaluate({"m": model}, [1], [metric])


def test_figures_may_have_any_names_but_those_of_a_row(tmp_path):
    """One that ends in `_error` is no error of another, and none overwrites what a row says."""
    arguments = {"steps": [1], "samples": 20}
    scores = [
        metrics.SampleScore(lambda ids: {"word_error": (float(len(ids)), 0.5)}, "words"),
        metrics.SampleScore(lambda ids: (1.0, 0.25), "share"),
    ]
    report = sweep(metrics=scores, folder=tmp_path, seeds=(0,), **arguments)
    assert report.figures == Report.load(tmp_path).figures == ["word_error", "share"]
    assert (report.rows[0]["word_error"], report.rows[0]["word_error_error"]) == (20.0, 0.5)
    assert report.table()[0][3:5] == ["word_error", "share"]
    for name in ("calls", "temperature", "steps", "seeds", "model", "step_entropies"):
        with pytest.raises(ValueError, match=f"names model, .*Received: '{name}'"):
            sweep(metrics=[metrics.UnigramEntropy(name=name)], **arguments)
    with pytest.raises(ValueError, match="Received: 'calls'"):
        sweep(metrics=[metrics.SampleScore(lambda ids: {"calls": 3}, "m")], **arguments)


def test_a_figure_that_a_seed_lacks_has_no_mean():
    counts = iter(range(9))
    score = metrics.SampleScore(lambda ids: {"always": 1.0, f"at {next(counts)}": 2.0}, "score")
    (row,) = sweep(metrics=[score], steps=[1], samples=20).rows
    assert (row["always"], row["at 0"], row["at 1"]) == (1.0, None, None)


def test_cells_are_plain_files(tmp_path):
    sweep(folder=tmp_path, steps=[1])
    cells = [json.loads(path.read_text()) for path in (tmp_path / "cells").glob("*.json")]
    assert len(cells) == 3  # two seeds and the settings
    assert not list(tmp_path.rglob("*.partial"))


def test_another_function_is_another_metric(tmp_path):
    arguments = {"steps": [1], "samples": 20, "seeds": (0,), "folder": tmp_path}
    sweep(metrics=[metrics.SampleScore(lambda ids: ids.mean(), "score")], **arguments)
    before = sweep(metrics=[metrics.SampleScore(lambda ids: ids.mean(), "score")], **arguments)
    assert before.rows[0]["score"] > 0
    with pytest.raises(ValueError, match="other metric_fingerprints"):
        sweep(metrics=[metrics.SampleScore(lambda ids: ids.max(), "score")], **arguments)


def test_what_would_fail_fails_before_anything_is_sampled(monkeypatch):
    model = exact_model()
    monkeypatch.setattr(model, "generate", lambda *args, **kwargs: pytest.fail("sampled"))
    moment = metrics.GradientMoment(reference(), pairs=2)
    data = toy.samples(SUPPORT, PROBABILITIES, 100, 5)
    for options, message in (
        ({"metrics": [moment]}, "in a sweep `reference_data`"),
        ({"metrics": [moment], "reference_data": data, "samples": 10}, "multiple of 4.*Received: 10"),
        ({"reference_data": data[:, :4], "samples": 10}, r"shape \(n, 5\).*\(100, 4\)"),
        ({"metrics": [metrics.KernelDistance(lambda ids: ids[:, :2], data, 50)], "samples": 10}, "50"),
        ({"metrics": [metrics.Repetition(6)]}, "repetition_6: rows of 5 tokens have no 6-grams"),
        ({"metrics": [metrics.Diversity()], "length": 3}, "diversity_4: rows of 3 tokens"),
        ({"metrics": [metrics.Diversity(), metrics.Repetition(name="diversity_4")]}, "'diversity_4'"),
        ({"metrics": [distance(), metrics.Diversity(name="total_variation_error")]}, "or its error"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep({"exact": model}, **options)


def test_a_mistake_in_what_is_generated_does_not_block_its_correction(tmp_path):
    """Of any model and argument: the folder is not marked by what could not have begun."""
    few = {"steps": [1], "samples": 8, "seeds": (0,), "metrics": [metrics.UnigramEntropy()]}
    models = {"exact": exact_model(), "net": small_model()}
    for options, message in (
        ({"top_p": 1.5}, "`top_p` must be"),
        ({"guidance_scale": 2.0}, "pass them too"),
        ({"labels": 3}, "takes no `labels`"),
        ({"times": [1.0, 0.5]}, "`times`"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"prompts": np.zeros((3, 2), int)}, "prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep(models, folder=tmp_path / "r", **few, **options)
        assert not (tmp_path / "r").exists()
    with pytest.raises(TypeError, match="'temprature'"):
        sweep(models, folder=tmp_path / "r", **few, temprature=1)
    one = {"exact": models["exact"]}
    sweep(one, folder=tmp_path / "r", **few, top_p=0.5)
    with pytest.raises(ValueError, match="other `max_length`, `top_p` of `generate`: take"):
        sweep(one, folder=tmp_path / "r", **few, top_p=0.6, max_length=5)


def test_prompts_as_an_array_and_a_batch_size():
    prompts = toy.samples(SUPPORT, PROBABILITIES, 20, 5)
    known = np.arange(5) < 2
    report = sweep(
        steps=[2], samples=20, seeds=(0,), prompts=prompts, known=np.tile(known, (20, 1)), batch_size=10
    )
    assert (np.array(report.rows[0]["steps"]) == 2).all()
    report = sweep(steps=[2], samples=20, seeds=(0,), batch_size=10)
    assert len(report.rows[0]["step_entropies"]) == 2


def test_prompts_of_several_lengths():
    """With gaps too; they are cut with the samples whose entropies are measured."""
    ids = [int(i) for i in SUPPORT[0]]
    prompts = [[ids[:1], kd.Gap(2), ids[3:4]], (ids[:2],)] * 40
    report = sweep(steps=[2], samples=80, seeds=(0,), prompts=prompts)
    assert len(report.rows[0]["step_entropies"]) == 2
    with pytest.raises(ValueError, match="`prompts` must be ids"):
        sweep(steps=[2], samples=2, seeds=(0,), prompts=[("ab", kd.Gap(2)), ("a",)])


def test_one_sample():
    """Of arguments that have no entries nothing is cut."""
    report = sweep(steps=[2], samples=1, seeds=(0,), prompts=None, metrics=[metrics.UnigramEntropy()])
    assert report.rows[0]["unigram_entropy"] is not None


def test_other_prompts_are_another_sweep(tmp_path):
    """Also where they are many: what numpy prints of them is cut."""
    one = np.zeros((1500, 5), "int64")
    other = one.copy()
    other[700, 2] = 1
    options = {
        "steps": [1],
        "samples": 1500,
        "seeds": (0,),
        "folder": tmp_path,
        "metrics": [distance()],
    }
    known = np.tile(np.arange(5) == 2, (1500, 1))
    sweep(prompts=list(one), known=list(known), **options)
    with pytest.raises(ValueError, match="other `prompts` of `generate`"):
        sweep(prompts=list(other), known=list(known), **options)


def test_a_seed_has_its_data_whatever_is_beside_it(tmp_path):
    first = []

    class Look(metrics.StreamingMetric):
        def update_state(self, samples, data=None):
            first.append(int(samples[0, 0]))
            self.gather(look=[0.0])

    model = small_model(kd.MaskedDiffusion(400))
    data = np.arange(400)[:, None] * np.ones((1, 5), "int64")
    options = {"steps": [1], "samples": 50, "reference_data": data, "folder": tmp_path}
    for seeds in ((0,), (7, 0)):  # what is done is not asked again: one set of rows each
        sweep({"small": model}, seeds=seeds, metrics=[Look(name="look")], **options)
    of_data = [first[0], first[2]]
    assert len(first) == 4 and of_data[0] != of_data[1]


def test_seeds_have_data_of_their_own():
    """As far as there are enough: a standard error over seeds is one of data too."""
    seen = []

    class Look(metrics.StreamingMetric):
        def update_state(self, samples, data=None):
            seen.append((samples, data))
            self.gather(look=[0.0])

    model = small_model(kd.MaskedDiffusion(400))
    data = np.arange(400)[:, None] * np.ones((1, 5), "int64")
    options = {"steps": [1], "samples": 50, "seeds": (3, 9), "reference_data": data}
    sweep({"small": model}, metrics=[Look(name="look")], **options)
    of_data = [np.concatenate(pair)[:, 0] for pair in seen[:2]]
    assert all(len(set(part)) == 100 for part in of_data)
    assert not set(of_data[0]) & set(of_data[1])
    assert set(seen[2][1][:, 0]) < set(of_data[0])


def test_figures_that_are_no_numbers_leave_json_valid(tmp_path):
    score = metrics.SampleScore(lambda ids: {"none": float("nan"), "all": float("inf")}, "score")
    report = sweep(metrics=[score], steps=[1], samples=20, seeds=(0,), folder=tmp_path)
    assert report.rows[0]["none"] is None and report.rows[0]["all"] is None
    text = (tmp_path / "report.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert report.table()[1][3:5] == ["", ""]


def test_what_is_needed_to_repeat_it(tmp_path):
    import keras

    report = sweep(steps=[1], samples=20, seeds=(0,), folder=tmp_path)
    assert keras.backend.backend() in report.machine["versions"]
    assert report.machine["processor"] and report.machine["policy"] == "float32"
    assert "MaskedDiffusion" in report.settings["networks"]["exact"]["process"]
    assert keras.backend.backend() in (tmp_path / "report.html").read_text()


def test_samplers_are_swept_and_their_calls_counted(tmp_path):
    """Those that end early by what they took: the table, the charts and the entropies."""
    samplers = {"all at once": kd.samplers.EntropyBound(float("inf")), "exact": "first_hitting"}
    arguments = {"steps": [5], "samplers": samplers, "samples": 2000, "folder": tmp_path}
    report = sweep(**arguments)
    once, exact = report.rows
    assert (once["sampler"], once["calls"]) == ("all at once", 1.0)
    assert (exact["sampler"], exact["calls"]) == ("exact", 5.0)
    assert exact["total_variation"] < 0.06 < 0.4 < once["total_variation"]
    assert len(once["step_entropies"]) == 1 and len(exact["step_entropies"]) == 5
    assert report.table()[0][:3] == ["model", "sampler", "calls"]
    lines = report.lines("total_variation")
    assert [point[0] for point in lines["exact, all at once"]] == [1.0]
    assert [point[0] for point in lines["exact, exact"]] == [5.0]
    html = (tmp_path / "report.html").read_text()
    assert "exact, all at once" in html
    again = sweep(**{**arguments, "samplers": {**samplers, "plain": "ancestral"}})
    assert len(again.rows) == 3 and again.rows[0] == once


@pytest.mark.parametrize(
    ("samplers", "message"),
    [
        ([], "`samplers` is empty"),
        (["best"], "`sampler` must be one of"),
        (["psi", "psi"], "must be different ones"),
    ],
)
def test_bad_samplers(samplers, message):
    with pytest.raises(ValueError, match=message):
        sweep(samplers=samplers)


def test_samplers_must_suit_every_model():
    process = kd.UniformDiffusion(3)
    uniform = kd.DiffusionModel(ExactDenoiser(SUPPORT, PROBABILITIES, process), process, length=5)
    with pytest.raises(ValueError, match="'confidence'.*UniformDiffusion"):
        sweep({"masked": exact_model(), "uniform": uniform}, samplers=["confidence"])


def test_a_sampler_of_the_same_name_with_other_settings_is_another_one(tmp_path):
    arguments = {"steps": [5], "samples": 100, "seeds": (0,), "folder": tmp_path}
    one, other = (
        sweep(samplers={"mine": kd.samplers.EntropyBound(bound)}, **arguments).rows[0]["calls"]
        for bound in (float("inf"), 0.0)
    )
    assert one == 1 < other


def test_arguments_for_every_sample():
    """More of them than entropies are taken of."""
    model, entropy = randomise(small_model(num_classes=2)), metrics.UnigramEntropy()
    report = sweep({"m": model}, metrics=[entropy], steps=[2], samples=80, labels=[1] * 80)
    assert len(report.rows[0]["step_entropies"]) == 2


def test_step_entropies_of_classes_and_of_self_conditioning():
    """What is told beside tokens and time is told as in sampling."""
    for model in (
        randomise(small_model(self_conditioning=True)),
        randomise(small_model(num_classes=2)),
    ):
        entropies = step_entropies(
            model, 3, samples=8, labels=1 if model.capabilities.num_classes else None
        )
        assert len(entropies) == 3 and all(0 < e <= np.log(3) + 1e-6 for e in entropies)


def test_data_of_the_classes_of_samples(tmp_path):
    """Others are left out where it is said which they are; where not, there is a warning."""
    model, data = randomise(small_model(num_classes=3)), toy.samples(SUPPORT, PROBABILITIES, 90, 5)
    classes = np.arange(90) % 3
    arguments = {"metrics": [metrics.UnigramEntropy()], "steps": [1], "samples": 10, "seeds": (0,)}
    with pytest.warns(UserWarning, match="Samples are of class 1.*figures mean nothing"):
        sweep({"m": model}, labels=1, reference_data=data, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for labels, wanted in ((1, [1]), ([0, 2] * 5, [0, 2])):
            known = {"reference_data": data, "reference_labels": classes, "labels": labels}
            found = sweep({"m": model}, **known, **arguments)
            own = sweep({"m": model}, reference_data=data[np.isin(classes, wanted)], **arguments)
            assert found.settings["data"] == own.settings["data"]
            assert found.rows[0] == own.rows[0]  # of data
    for change, message in (
        ({"reference_labels": classes}, "of the classes of `labels`"),
        ({"reference_labels": classes[:5], "labels": 1}, r"shape \(90,\).*\(5,\)"),
        ({"reference_labels": classes % 2, "labels": 2}, "No row.*class 2"),
        ({"reference_labels": classes, "labels": 1, "samples": 20}, "at least twice.*Received: 30"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep({"m": model}, reference_data=data, **{**arguments, **change})
