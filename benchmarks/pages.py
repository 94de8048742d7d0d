"""Tables that benchmarks write into pages of docs/."""

import os

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "scale.md")


def marks(name):
    """Between what a text stands: `<!-- name -->` and `<!-- end of name -->`, without its script."""
    return f"<!-- {name} -->", f"<!-- end of {name.split(':')[0]} -->"


def write_between(name, text, page=PAGE):
    """Put a text between its `marks` in a page, and print it."""
    begin, end = marks(name)
    with open(page, encoding="utf-8") as file:
        before, rest = file.read().split(begin)
    _, after = rest.split(end)
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{after}")
    print(text)
