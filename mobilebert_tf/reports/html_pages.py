"""The HTML pages of runs, exports and quantization reports: templates in templates/."""

from pathlib import Path
from typing import Any

import jinja2


def render(name: str, **values: Any) -> str:
    """Returns a self-contained HTML page.

    Args:
        name: of the template.
        values: of its variables; jinja2 raises an error if one is missing.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["digits"] = _three_digits
    return environment.get_template(name).render(**values)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
