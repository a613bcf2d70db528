"""What terminals of any kind show."""

import os
import subprocess
import sys

SHOW = r"""
from rich.table import Table
from labelrepair.printed import terminal
table = Table()
table.add_column("class")
table.add_row("\u732b :cat: [bold]")
terminal().print(table)
terminal().print("\u2603 [red]")
"""


def shown(**environment):
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, **environment}
    )
    return done.stdout.decode()


def test_names_are_shown_as_they_are():
    text = shown(PYTHONUTF8="1")
    assert "\u732b :cat: [bold]" in text
    assert "\u2603 [red]" in text


def test_a_terminal_of_ascii_gets_numbers_instead_of_an_error():
    text = shown(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert r"\u732b :cat: [bold]" in text
    assert r"\u2603 [red]" in text
