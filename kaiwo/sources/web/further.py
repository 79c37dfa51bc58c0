"""How a page of links leads to its further pages, and to itself in another form.

    query      page=2, start=50, cursor=...: a further page of what it asks
    path       page/2 below the folder
    name       page2.html, index-2.html, 3.html: a further page, or a file of that name
    words      Next, Older files, 2, an arrow: the same

By a name or words alone, only the page itself shows what it is, see ``folders``.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from kaiwo.net.pages import may_be_page

#: Parameters that lead to a further page.
_FURTHER = re.compile(
    r"page|pg|paged|page[_-]?(?:no|num|number|index|token)|offset|start|from|skip|after|cursor|next|"
    r"(?:key[_-]?|next[_-]?)?marker|(?:next[_-]?)?continuation(?:[_-]?token)?|start[_-]?after|b_start",
    re.IGNORECASE,
)
#: The same, if their value is a number.
_FURTHER_BY_NUMBER = re.compile(r"p|pn|i|s", re.IGNORECASE)
#: The path of a further page, below the folder.
FURTHER_PATH = re.compile(r"(?:pages?|p)/\d+/?", re.IGNORECASE)
#: Parameters that show the same page in another order, layout or part.
_VIEW = re.compile(
    r"[cofvp]|sort(?:[_-]?by|[_-]?order)?|order(?:[_-]?by)?|desc|asc|reverse|layout|view|theme|lang|"
    r"hl|locale|limit|size|page[_-]?size|per[_-]?page|q|search|filter|hidden",
    re.IGNORECASE,
)
#: Parameters and values that show it in another format, or as an archive.
_FORM = re.compile(r"download|archive|format|type|output|dir|direction|raw", re.IGNORECASE)
_FORMS = re.compile(
    r"|zip|tar|tgz|tar\.gz|json|xml|csv|te?xt|plain|html?|rss|atom|asc|desc|true|1", re.IGNORECASE
)
#: The name of a further page, without its extension.
_NAME = re.compile(
    r"(?:pages?|index|list|listing|dir|directory|folder|files?|browse|part|p)[-_.]?(?:no|num)?\d+|"
    r"index|next|more|older",
    re.IGNORECASE,
)
_EXTENSION = re.compile(r"\.[a-z]\w*$", re.IGNORECASE)
#: Words that lead on, in some languages; arrows; the number of a page.
_WORDS = re.compile(
    r"(?:go to |load |show |view |see |the )*(?:next|more|older|forward|continue|weiter|nächste|"
    r"siguiente|suivante?|seguinte|successiv[ao]|volgende|следующая|далее|下一页|下一頁|次へ|次|다음)"
    r"(?: (?:page|pages|files?|entries|items|results?|seite|página|\d+))*",
    re.IGNORECASE,
)
_ARROWS = re.compile(r"[>\u203a»→⟩⇒▶⏵]+")
_NUMBER = re.compile(r"(?:page )?\d+", re.IGNORECASE)
_AROUND = " \t\xa0|[](){}<>\u2039\u203a«»←→⟨⟩⇒▶⏵.…·:"


def leads_further(query: str, words: str = "") -> bool:
    """Whether a query asks for a further page, by itself or by the words for its link."""
    if any(is_of_page(*pair) for pair in _pairs(query)):
        return True
    return leads_on(words) or (is_number(words) and not is_view(query))


def is_view(query: str) -> bool:
    """Whether a query shows the same page in another order or form."""
    return all(is_of_view(*pair) for pair in _pairs(query))


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query.replace(";", "&"), keep_blank_values=True)


def is_of_page(name: str, value: str) -> bool:
    """Whether a parameter says which page to show."""
    is_number = _FURTHER_BY_NUMBER.fullmatch(name) is not None and value.isdecimal()
    return bool(value) and (is_number or _FURTHER.fullmatch(name) is not None)


def is_of_view(name: str, value: str) -> bool:
    """Whether a parameter says how to show a page."""
    if is_of_page(name, value):
        return False
    if not value and _FORMS.fullmatch(name):
        return True  # such as ?json
    is_form = _FORM.fullmatch(name) is not None and _FORMS.fullmatch(value) is not None
    return is_form or _VIEW.fullmatch(name) is not None


def has_name_of_page(name: str) -> bool:
    """Whether a file of this name may be a further page of its folder."""
    stem = _EXTENSION.sub("", name)
    is_name = _NAME.fullmatch(stem) is not None or (stem != name and stem.isdecimal())
    return is_name and may_be_page([name])


def is_named(words: str, name: str) -> bool:
    """Whether the words for a link are the name that it leads to, which may be cut."""
    name, shown = unquote(name).rstrip("/"), unquote(words).strip().rstrip("/")
    start = re.sub(r"(?:\.\.+>?|…)$", "", shown)
    return shown == name or (start not in (shown, "") and name.startswith(start))


def leads_on(words: str) -> bool:
    """Whether the words for a link say that it leads to the next page."""
    plain = words.strip(_AROUND)
    return _WORDS.fullmatch(plain) is not None or _ARROWS.fullmatch(words.strip()) is not None


def is_number(words: str) -> bool:
    """Whether the words for a link are the number of a page."""
    return _NUMBER.fullmatch(words.strip(_AROUND)) is not None
