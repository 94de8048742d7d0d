"""The recipes of docs/extending.md, run as they stand, one after the other."""

import pathlib
import re

import pytest

DOCS = pathlib.Path(__file__).parent.parent / "docs"


@pytest.mark.long_compilation
def test_the_recipes_of_extending_run():
    text = (DOCS / "extending.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M)
    assert len(blocks) >= 5  # a process, a sampler, a distiller, a network, a metric
    scope = {"__name__": "extending"}
    for block in blocks:
        exec(compile(block, "docs/extending.md", "exec"), scope)
    assert scope["images"].shape == (2, 64) and (scope["calls"] == 64).all()
    assert {row["sampler"] for row in scope["report"].rows} == {"ancestral", "confidence"}
    assert scope["report"].notes["brightness"]["text"].startswith("mean grey level")


def test_links_between_pages_lead_somewhere():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
