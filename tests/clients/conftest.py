"""The files for the clients, and the table of what the clients made of them."""

import pytest
import tabulate
from exported import Exported

ROWS = pytest.StashKey()
COLUMNS = ("client", "head", "mode", "TFLite", "length", "difference", "result")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("exported"))


@pytest.fixture
def row(request):
    """Adds a row, some of COLUMNS as keywords, to the table that ends the run."""
    rows = request.config.stash.setdefault(ROWS, [])
    return lambda **columns: rows.append([columns.get(name) for name in COLUMNS])


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.section("clients")
        terminalreporter.write_line(tabulate.tabulate(rows, COLUMNS, floatfmt=".1e"))
