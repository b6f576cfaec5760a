"""One HTML page about an output folder: no script, no request, readable in light and dark, on a phone and on paper."""

from curate.report.page.page import FILE, render, write_report

__all__ = ["FILE", "render", "write_report"]
