"""Code of docs pages, run as it stands, one block after the other; what they quote is the library."""

import pathlib
import re
import tomllib

import keras
import numpy as np
import pytest

import keras_dmmd as kd
from tests.builders import ON_TORCH, small_model

DOCS = pathlib.Path(__file__).parent.parent / "docs"
README = DOCS.parent / "README.md"


def run_blocks(page, heading=None, smaller=(), **scope):
    """Run a page's blocks of Python, or those below one heading ("": before the first).

    `smaller` are pairs of what stands there once and what is faster. Returns the names they leave.
    """
    text = (DOCS / page).read_text()
    if heading is not None:
        before, *parts = re.split(r"^##+ (.*)\n", text, flags=re.M)
        text = {"": before, **dict(zip(parts[::2], parts[1::2], strict=True))}[heading]
    for large, small in smaller:
        assert text.count(large) == 1, large
        text = text.replace(large, small)
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M)
    assert blocks, f"{page} has no code"
    scope["__name__"] = page.removesuffix(".md")
    for block in blocks:
        exec(compile(block, f"docs/{page}", "exec"), scope)
    return scope


@ON_TORCH
def test_the_readmes_twenty_lines(tmp_path, monkeypatch):
    """As they stand, but for 48 digits and one epoch."""
    monkeypatch.chdir(tmp_path)
    (train, classes), held_out = kd.datasets.load_digits()
    few = (train[:48], classes[:48]), tuple(part[:16] for part in held_out)
    monkeypatch.setattr(kd.datasets, "load_digits", lambda: few)
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.S | re.M)
    code, number = re.subn(r"epochs=\d+", "epochs=1", code)
    scope = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert number == 2 and scope["images"].shape == (16, 64)
    student = keras.saving.load_model("student.keras")
    np.testing.assert_array_equal(student.generate(16, steps=8, seed=0), scope["images"])


@ON_TORCH
def test_the_recipes_of_extending_run():
    text = (DOCS / "extending.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) >= 5  # a process, a sampler, a distiller, a network, a metric
    scope = run_blocks("extending.md")
    assert scope["images"].shape == (2, 64) and (scope["calls"] == 64).all()
    assert {row["sampler"] for row in scope["report"].rows} == {"ancestral", "confidence"}
    assert scope["report"].notes["brightness"]["text"].startswith("mean grey level")


@ON_TORCH
def test_texts_of_different_lengths_with_classes():
    scope = run_blocks("text.md", "Texts of different lengths, with classes")
    rows, names, teacher = scope["rows"], scope["names"], scope["teacher"]
    assert scope["tokenizer"].decode(rows) == scope["texts"]
    assert rows.shape == scope["ids"].shape == (4, 12) and len(names) == 4
    teacher.fit({"tokens": rows, "labels": scope["classes"]}, verbose=0)
    assert teacher.generate(4, labels=[0, 1, 1, 0], steps=1).shape == (4, 12)


@pytest.fixture
def briefly(tmp_path, monkeypatch):
    """In an empty folder, with one update of training."""
    monkeypatch.chdir(tmp_path)
    keras.config.set_max_epochs(1)
    keras.config.set_max_steps_per_epoch(1)
    yield tmp_path
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


def write_letters(folder):
    (folder / "letters").mkdir()
    for i, who in enumerate(("The president", "We, the people,", "It is a pity that nobody")):
        lines = [f"{who} said {n} of the {n + i} words." for n in range(200)]
        (folder / "letters" / f"{i}.txt").write_text("\n\n".join(lines))


@ON_TORCH
def test_texts_of_ones_own(briefly):
    write_letters(briefly)
    scope = run_blocks("text.md", "", [("steps=64", "steps=2")])
    (text,) = scope["teacher"].generate(prompts=["We, the"], steps=2)
    assert text.startswith("We, the")
    mask = np.tile(np.arange(128) < 3, (2, 1))
    fewer = [
        ("steps=16", "steps=2"),
        ("(8, ", "(8, steps=2, "),
        ("=mask", "=mask, steps=2"),
    ]
    run_blocks("text.md", "Prompts", fewer, **{**scope, "ids": scope["rows"][:2], "mask": mask})
    scope = run_blocks("text.md", "Block after block", [("length=1024", "length=64")], **scope)
    assert scope["teacher"].capabilities.block_size == 16


@ON_TORCH
def test_judges(briefly):
    pytest.importorskip("fcd_torch")
    pytest.importorskip("mauve")
    fewer = [("steps=[2, 4, 8, 16, 64]", "steps=[2]"), ("samples=400", "samples=64")]
    scope = run_blocks("evaluation.md", "", fewer)
    assert {row["model"] for row in scope["report"].rows} >= {"teacher", "student"}
    write_letters(briefly)
    student = kd.from_preset("moses_student")
    scope |= {"student": student, "data": scope["digits"]}
    scope["test_ids"] = student.tokenizer.encode_batch(["CCO", "CCN", "c1ccccc1"], length=8)
    scope = run_blocks("evaluation.md", "Metrics", [("n=500", "n=4")], **scope)
    assert scope["bits"] > 0 and scope["fcd"].name == "fcd"


@ON_TORCH
def test_calls_memory_and_resuming(briefly):
    model = small_model()
    model.compile()
    rows = np.zeros((32, 5), "int32")
    run_blocks("samplers.md", "", teacher=model, kd=kd)
    run_blocks("resuming.md", "", model=model, x=rows, kd=kd)
    assert (briefly / "runs" / "teacher").is_dir()  # emptied at the end
    model.save_to_preset("my_teacher")
    scope = run_blocks("large_networks.md", "", kd=kd, tokens=rows)
    assert scope["distiller"].student.denoiser.remat


@ON_TORCH
def test_a_student_is_begun_for_fewer_calls():
    scope = {"kd": kd, "teacher": small_model(), "tokens": np.zeros((8, 5), "int32"), "early": 4}
    scope = run_blocks("results.md", "Begun with longer steps", **scope)
    _, calls = scope["distiller"].student.generate(2, return_calls=True)
    assert (calls == 8).all()


@ON_TORCH
def test_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    scope = run_blocks("images.md")
    tokens, photos = scope["tokens"], scope["photos"]
    assert tokens.min() == 0 and tokens.max() == 15 and scope["images"].shape == (16, 8, 8, 3)
    assert (tokens[:, :3] == photos[:, 0, 0] // 16).all()  # the channels of the first pixel
    assert (tmp_path / "samples.png").stat().st_size


def test_handing_a_model_on(tmp_path, monkeypatch):
    """With a stand-in for `huggingface_hub`, whose repository is the folder itself."""

    class Hub:
        def HfApi(self):
            return self

        def create_repo(self, name, exist_ok):
            assert name == "me/digits_student" and exist_ok

        def upload_folder(self, repo_id, folder_path):
            assert repo_id == "me/digits_student" and pathlib.Path(folder_path, "card.json").exists()

        def snapshot_download(self, name):
            return name.removeprefix("me/")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kd.presets.handles, "_package", lambda package: Hub())
    scope = run_blocks("networks.md", "Handing a model on", kd=kd, student=small_model())
    assert scope["student"].generate(2, steps=1).shape == (2, 5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="compiles eight methods elsewhere")
def test_every_method_of_the_table_runs():
    scope = run_blocks("methods.md")
    assert set(scope["samples"]) == {name for name in dir(kd) if name.endswith("Distiller")} - {
        "Distiller"
    }
    assert all(samples.shape == (2, 64) for samples in scope["samples"].values())
    text = (DOCS / "methods.md").read_text()
    assert all(f"`{name}`" in text for name in scope["samples"])


@ON_TORCH
def test_rates_and_adapters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = np.zeros((4, 5), "int32")
    scope = {"kd": kd, "keras": keras, "teacher": small_model(), "rows": rows, "tokens": rows}
    scope = run_blocks("distillation.md", "Learning rates of pretrained networks", **scope)
    for optimizer in scope["distiller"].optimizer.optimizers:
        rate = optimizer.get_config()["learning_rate"]["config"]
        assert rate["initial_learning_rate"] == 2e-4
    scope = run_blocks("distillation.md", "Adapters, integers, and what is frozen", **scope)
    assert scope["student"].generate(2, steps=1).shape == (2, 5)


@ON_TORCH
@pytest.mark.parametrize("page", ["index.md", "guides.md", "guidance.md", "course/index.md"])
def test_pages_that_begin(page, capsys):
    """As they stand, but for few updates in each epoch."""
    keras.config.set_max_steps_per_epoch(1)
    try:
        scope = run_blocks(page)
    finally:
        keras.config.set_max_steps_per_epoch(None)
    if page == "index.md":
        assert scope["slow"].shape == scope["fast"].shape == (2, 64)
    elif page == "guides.md":
        assert scope["sequences"] == ["CASSLGQAYEQYF", "CASSPGTGGNEKLFF"] and len(scope["loops"]) == 2
        assert scope["tokenizer"].decode(scope["rows"]) == scope["sequences"]
    elif page == "guidance.md":
        assert scope["threes"].shape == scope["strong"].shape == (4, 64)
    else:
        assert re.findall(r"^(\w+) disagrees: 0\.\d+$", capsys.readouterr().out, flags=re.M)


@pytest.mark.plain
def test_the_course_quotes_the_library():
    """Blocks with a file in their title stand in that file, line by line."""
    quoted = 0
    for page in DOCS.rglob("*.md"):
        pattern = r'^```python title="([^"]+)"\n(.*?)^```'
        for path, block in re.findall(pattern, page.read_text(), flags=re.S | re.M):
            quoted += 1
            assert block in (DOCS.parent / path).read_text(), f"{page.name} quotes {path}:\n{block}"
    assert quoted >= 10


def test_links_between_pages_lead_somewhere():
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        # The reference and the demo are written where the site is made.
        link = r"\]\((?!reference/|demo.html)([^)#:]+)(?:#[^)]*)?\)"
        for target in re.findall(link, page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.plain
def test_the_library_is_installed_from_where_it_is():
    """No index has its name: pages and model cards say the repository's address. (Of notebooks see
    test_notebooks.py.)"""
    root = DOCS.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    address = re.escape(f"@ git+{project['urls']['Repository']}") + r"['\"]"
    folders = ("docs", "keras_dmmd", "keras_dmmd_command", "benchmarks")
    files = [path for name in folders for path in (root / name).rglob("*.[mp][dy]")]
    asked = [
        (path.name, re.search(rf"pip install ['\"]keras-dmmd(\[\w+\])? {address}", line))
        for path in (root / "README.md", *files)
        for line in path.read_text().splitlines()
        if re.search(r"pip install.*keras[-_]dmmd", line)
    ]
    assert {"README.md", "index.md", "model_card.py"} <= {name for name, _ in asked}
    assert all(found for _, found in asked), asked
