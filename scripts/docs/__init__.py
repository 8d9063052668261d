"""The parts of the pages that come from the code. `make docs` writes them; `scripts/check` finds stale ones.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->` in any Markdown page.
"""
