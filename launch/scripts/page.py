"""A table in a page of the docs, between two marks that a command writes between."""


def with_table(page: str, start_mark: str, end_mark: str, text: str) -> str:
    """`page` with what is between its two marks replaced."""
    before, start, rest = page.partition(start_mark)
    _, end, after = rest.partition(end_mark)
    if not start or not end:
        raise SystemExit(f"error: the page has no lines {start_mark!r} and {end_mark!r} to put the table between")
    return f"{before}{start}\n{text}{end}{after}"
