"""What people see of a URL never holds its credentials, however odd they are."""

from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from metaferry.masking import showable
from metaferry.urls import hidden_in, holds_secret, redact

#: What passwords hold though a URL does not allow it; `::` begins the next part of a chained URL.
HOSTILE = st.sampled_from(
    ["/", "//", "?", "#", "@", ":", "::", "%2F", " ", "&", "=", "\\", "[", "]", "ü", "\n"]
)
#: Long enough that no other part of the URL holds the same by chance.
WORD = st.text(string.ascii_letters + string.digits, min_size=8, max_size=12)
SCHEMES = ["http", "https", "HTTPS", "ftp", "sftp", "smb", "webdav", "s3", "gs", "az", "abfss", "odd+one"]
HOSTS = ["host", "host:9000", "a.b.example.org", "[::1]:80", "127.0.0.1"]
PATHS = ["", "/", "/x.csv", "/a/b c/*.parquet", "/é/x.csv", "/a.json"]
CHAINS = ["", "zip://a.csv::", "simplecache::", "zip://a/b.csv::simplecache::"]


@st.composite
def passwords(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A password, and the words that it is made of."""
    words = draw(st.lists(WORD.map(lambda word: f"Zq{word}"), min_size=1, max_size=3))
    return "".join(word + draw(HOSTILE) for word in words), words


@given(
    st.sampled_from(CHAINS),
    st.sampled_from(SCHEMES),
    WORD,
    passwords(),
    st.sampled_from(HOSTS),
    st.sampled_from(PATHS),
)
@example("", "http", "username", ("Zqpa/Zqss", ["Zqpa", "Zqss"]), "host", "/x.csv")
@example("", "http", "username", ("12/34Zqss", ["34Zqss"]), "host:80", "/x.csv")
@example("zip://a::", "http", "username", ("Zqpa::x://Zqss", ["Zqpa", "Zqss"]), "host", "/x.csv")
def test_no_word_of_a_password_is_shown(
    chain: str, scheme: str, user: str, password: tuple[str, list[str]], host: str, path: str
) -> None:
    secret, words = password
    url = f"{chain}{scheme}://{user}:{secret}@{host}{path}"
    shown = showable(url)
    assert not [word for word in words if word in shown], shown
    assert holds_secret(url)
    assert shown.startswith(chain)


@given(
    st.sampled_from(CHAINS),
    st.sampled_from(["http", "https", "az", "s3", "gs", "ftp"]),
    st.sampled_from(["sig", "X-Amz-Signature", "X-Goog-Signature", "token", "Signature", "se=1&sig"]),
    WORD,
    st.sampled_from(PATHS),
)
def test_no_signature_is_shown(chain: str, scheme: str, name: str, word: str, path: str) -> None:
    url = f"{chain}{scheme}://place{path}?v=1&{name}=Zq{word}%2Fx"
    assert f"Zq{word}" not in showable(url)
    assert f"Zq{word}%2Fx" in hidden_in(url)


@given(
    st.sampled_from(["s3", "gs", "az", "memory", "sftp", "https", "abfss"]),
    st.from_regex(r"[a-z][a-z0-9.-]{2,20}", fullmatch=True),
    st.lists(
        st.text(st.characters(exclude_characters="?#@:/%", exclude_categories=["Cs", "Cc"]), min_size=1),
        max_size=3,
    ),
)
def test_what_holds_no_credentials_is_shown_as_it_is(scheme: str, place: str, path: list[str]) -> None:
    url = "/".join([f"{scheme}://{place}", *path])
    assert redact(url) == url
    assert hidden_in(url) == []
