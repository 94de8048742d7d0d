"""Tables that benchmarks write into docs/scale.md."""

import os

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "scale.md")


def write_between(name, text, page=PAGE):
    """Put a text between `<!-- name -->` and `<!-- end of name -->`, without its script, in a page."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name.split(':')[0]} -->"
    with open(page, encoding="utf-8") as file:
        before, rest = file.read().split(begin)
    _, after = rest.split(end)
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{after}")
    print(text)
