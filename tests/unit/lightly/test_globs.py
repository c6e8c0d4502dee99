"""Globs: one meaning in Python and in RE2."""

from __future__ import annotations

import re

import duckdb
import pytest

from metaferry.lightly.globs import glob_regex, is_glob

MATCHES = [
    ("*.png", ["a.png", ".png", "a b\n.png"], ["a/b.png", "a.PNG", "a.png.txt", "xpng"]),
    ("a/*", ["a/b", "a/"], ["a/b/c", "a", "A/b"]),
    ("**/*.png", ["a.png", "x/a.png", "x/y/a.png"], ["a.jpg", "x/a.png/b"]),
    ("x/**/y.png", ["x/y.png", "x/a/y.png", "x/a/b/y.png"], ["xy.png", "x/ay.png", "y.png"]),
    ("tmp/**", ["tmp/a", "tmp/a/b", "tmp/"], ["tmp", "tmpa/b", "a/tmp/b"]),
    ("**", ["a", "a/b", ""], []),
    ("**/x/**", ["x/a", "a/x/b", "a/b/x/c/d"], ["x", "ax/b", "a/xb/c"]),
    ("day-?.csv", ["day-1.csv", "day-é.csv"], ["day-.csv", "day-10.csv", "day-/.csv"]),
    ("[abc].csv", ["a.csv", "c.csv"], ["d.csv", "A.csv", "ab.csv"]),
    ("[!abc].csv", ["d.csv", "!.csv"], ["a.csv", "/.csv", ".csv"]),
    ("[^abc].csv", ["d.csv"], ["a.csv"]),
    ("[0-9][0-9].csv", ["07.csv"], ["7.csv", "0a.csv"]),
    ("[]]", ["]"], ["[", ""]),
    ("[!]]", ["a"], ["]"]),
    ("[a-]", ["a", "-"], ["b"]),
    ("[+-9]", ["+", ".", "0", "9", "-"], ["/", "a"]),  # the range holds a slash, which never matches
    ("[--0]", ["-", ".", "0"], ["/"]),
    ("[*]", ["*"], ["a"]),
    ("[[]1].csv", ["[1].csv"], ["1.csv"]),
    ("[&~|^\\]", ["&", "~", "|", "^", "\\"], ["a"]),
    ("[**]", ["*"], ["**"]),
    ("a+b(c){d}$|^.csv", ["a+b(c){d}$|^.csv"], ["aab(c){d}$|^.csv"]),
    ("\\d", ["\\d"], ["1"]),
    ("a b#-~&\t", ["a b#-~&\t"], []),
    ("ü*", ["ü", "üx"], ["u", "Ü"]),
    ("a\nb", ["a\nb"], ["a", "ab"]),
    ("", [""], ["a"]),
]


@pytest.mark.parametrize(("pattern", "yes", "no"), MATCHES)
def test_what_a_glob_matches(pattern: str, yes: list[str], no: list[str]) -> None:
    regex = glob_regex(pattern)
    con = duckdb.connect()
    for path in [*yes, *no]:
        wanted = path in yes
        assert (re.fullmatch(regex, path) is not None) == wanted, path
        (found,) = con.execute("SELECT regexp_matches(?::VARCHAR, ?::VARCHAR)", [path, regex]).fetchall()
        assert found == (wanted,), path


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[abc", "not closed"),
        ("[]", "not closed"),
        ("[!]", "not closed"),
        ("a[b/c]", "not closed"),
        ("[z-a]", "runs backwards"),
        ("a**", "whole folders"),
        ("x/**.png", r"whole folders: write '\*\*/\*\.png'"),
    ],
)
def test_what_is_no_glob(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        glob_regex(pattern)


def test_where_a_wildcard_is() -> None:
    assert [text for text in ("a", "a*", "a?", "a[b", "a]b", "") if is_glob(text)] == ["a*", "a?", "a[b"]
