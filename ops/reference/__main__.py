"""`python -m ops.reference`: write every page that is made from the code."""

from ops.reference.pages import pages

for path, page in pages().items():
    path.parent.mkdir(exist_ok=True)
    path.write_text(page, encoding="utf-8")
