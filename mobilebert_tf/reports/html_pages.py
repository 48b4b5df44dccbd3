"""The HTML pages of runs, exports and quantization reports: templates in templates/."""

from pathlib import Path
from typing import Any

import jinja2


def render(name: str, **values: Any) -> str:
    """A page; nothing in it is loaded from elsewhere. jinja2's error for a value it lacks."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["digits"] = lambda value: f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return environment.get_template(name).render(**values)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
