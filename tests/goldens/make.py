"""python tests/goldens/make.py: writes the golden files anew, from mobilebert_tf as it is.

They hold what the package makes of given texts and numbers; the tokenizers and post-processing of
android_demo (Kotlin) and web_demo (JavaScript) must make the same. README.md says what is in them.
"""

import json
import textwrap
from pathlib import Path

import unicode_tables
from subjects import SUBJECTS

HERE = Path(__file__).parent
KOTLIN = HERE.parents[1] / "android_demo/core/src/main/kotlin/mobilebert/text/UnicodeTables.kt"
JAVASCRIPT = HERE.parents[1] / "web_demo/js/unicode_tables.js"


def files() -> dict[Path, str]:
    """What each file must hold."""
    tables = {"kinds": unicode_tables.kinds(), "lower_case": unicode_tables.lower_case()}
    made = {HERE / f"{name}.json": _json(subject()) for name, subject in SUBJECTS.items()}
    made |= {KOTLIN: _kotlin(**tables), JAVASCRIPT: _javascript(**tables)}
    return made | {HERE / "unicode.json": _json(tables)}


def _json(content: dict) -> str:
    """A line for each case."""
    lines = {name: json.dumps(value) for name, value in content.items() if name != "cases"}
    if "cases" in content:
        cases = ",\n".join(json.dumps(case) for case in content["cases"])
        lines["cases"] = f"[\n{cases}\n]"
    return "{\n" + ",\n".join(f'"{name}": {line}' for name, line in lines.items()) + "\n}\n"


def _kotlin(kinds: str, lower_case: str) -> str:
    return f"""package mobilebert.text

/** Made by tests/goldens/make.py from mobilebert_tf's tokenizer; [Unicodes] reads it. */
internal object UnicodeTables {{
    /** Runs of code points: a kind's letter and the run's length in base 36. */
    const val KINDS =
        {_literal(kinds)}

    /** Runs of code points that have a lower case: first, count, step and difference in base 36. */
    const val LOWER_CASE =
        {_literal(lower_case)}
}}
"""


def _javascript(kinds: str, lower_case: str) -> str:
    return f"""// Made by tests/goldens/make.py from mobilebert_tf's tokenizer; unicode.js reads it.

// Runs of code points: a kind's letter and the run's length in base 36.
export const KINDS =
  {_literal(kinds, indent=2)};

// Runs of code points that have a lower case: first, count, step and difference in base 36.
export const LOWER_CASE =
  {_literal(lower_case, indent=2)};
"""


def _literal(text: str, indent: int = 12) -> str:
    lines = [text[i : i + 100] for i in range(0, len(text), 100)]
    return textwrap.indent(" +\n".join(f'"{line}"' for line in lines), " " * indent).strip()


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
        print(f"{path.relative_to(HERE.parents[1])}: {len(content.encode()):,} bytes")
