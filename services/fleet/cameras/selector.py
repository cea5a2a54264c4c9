"""Label selectors as Kubernetes writes them. Pure: no database, no HTTP.

    selector = "" | term ("," term)*            all terms must hold; no term: everything is selected
    term     = key | "!" key | key ("=" | "==" | "!=") [value] | key ("in" | "notin") "(" value ("," value)* ")"

As in Kubernetes, `key!=value` and `key notin (...)` hold where the key is missing too.
(https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

MOST_TERMS: Final = 32
"""As many as a camera can have labels. Each one costs a look into the table of labels."""

MOST_CHARACTERS: Final = 1024

_TOKEN: Final = re.compile(r"[A-Za-z0-9._/-]+|==|!=|[=!,()]")
_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class SelectorInvalid(ValueError):
    """The text is no selector. The message names the place; ``at`` is its character, counted from 1."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(f"at character {at}: {message}")
        self.at = at


class Operator(StrEnum):
    """What a term asks of a key."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Term:
    """A condition on one key. ``values``: sorted, without doubles; none for EXISTS and MISSING."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether a camera with these labels fulfils it."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.MISSING:
                return self.key not in labels

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.MISSING:
                return f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """Terms that must all hold. ``str()`` gives a text that is parsed to the same again."""

    terms: tuple[Term, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a camera with these labels is selected."""
        return all(term.holds(labels) for term in self.terms)

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)


def parse(text: str) -> Selector:
    """The selector that ``text`` writes; SelectorInvalid names the place where it is none."""
    if len(text) > MOST_CHARACTERS:
        raise SelectorInvalid(MOST_CHARACTERS + 1, f"a selector has at most {MOST_CHARACTERS} characters")
    tokens = _Tokens(text)
    if tokens.next_is(_END):
        return Selector()
    terms = [_term(tokens)]
    while tokens.take(","):
        if len(terms) == MOST_TERMS:
            raise SelectorInvalid(tokens.at, f"a selector has at most {MOST_TERMS} conditions")
        terms.append(_term(tokens))
    if not tokens.next_is(_END):
        raise tokens.unexpected("a comma or the end")
    return Selector(tuple(terms))


_END: Final = ""


class _Token(NamedTuple):
    text: str
    """Empty at the end."""
    at: int


class _Tokens:
    """The tokens of a text, read one after the other."""

    def __init__(self, text: str) -> None:
        self._tokens = _split(text)
        self._next = 0

    @property
    def at(self) -> int:
        """Where the next token begins, counted from 1."""
        return self._tokens[self._next].at

    def next_is(self, *texts: str) -> bool:
        """Whether the next token is one of these."""
        return self._tokens[self._next].text in texts

    def take(self, *texts: str) -> str:
        """The next token if it is one of these, and go past it; else empty."""
        return self.go() if self.next_is(*texts) else ""

    def go(self) -> str:
        """The next token, and go past it; the end stays."""
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token.text

    def word(self, what: str, form: re.Pattern[str]) -> str:
        """The next token as a key or a value."""
        token = self._tokens[self._next]
        if not token.text or not _is_word(token.text):
            raise self.unexpected(what)
        if not form.fullmatch(token.text):
            raise SelectorInvalid(
                token.at,
                f"{token.text[:80]!r} is not {what}: 1 to 63 letters, digits, dots, underscores and hyphens"
                f"{' and slashes' if form is _KEY else ''}, with a letter or digit at both ends",
            )
        return self.go()

    def unexpected(self, wanted: str) -> SelectorInvalid:
        """What stands here is not what must."""
        token = self._tokens[self._next]
        found = repr(token.text[:80]) if token.text else "the end"
        return SelectorInvalid(token.at, f"expected {wanted}, found {found}")


def _split(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = _past_blanks(text, 0)
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise SelectorInvalid(place + 1, f"{text[place]!r} cannot stand in a selector")
        tokens.append(_Token(found[0], place + 1))
        place = _past_blanks(text, found.end())
    return [*tokens, _Token(_END, len(text) + 1)]


def _past_blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _is_word(text: str) -> bool:
    return text[0] not in "=!,()"


def _term(tokens: _Tokens) -> Term:
    if tokens.take("!"):
        return Term(_key(tokens), Operator.MISSING)
    key = _key(tokens)
    if sign := tokens.take("=", "==", "!="):
        value = "" if tokens.next_is(",", _END) else tokens.word("a value", _VALUE)
        return Term(key, Operator.NOT_IN if sign == "!=" else Operator.IN, (value,))
    if operator := tokens.take("in", "notin"):
        return Term(key, Operator(operator), _values(tokens))
    if not tokens.next_is(",", _END):
        raise tokens.unexpected("a comma, =, !=, in or notin")
    return Term(key, Operator.EXISTS)


def _key(tokens: _Tokens) -> str:
    return tokens.word("a label's key", _KEY)


def _values(tokens: _Tokens) -> tuple[str, ...]:
    if not tokens.take("("):
        raise tokens.unexpected("an opening bracket")
    values = {tokens.word("a value", _VALUE)}
    while tokens.take(","):
        values.add(tokens.word("a value", _VALUE))
    if not tokens.take(")"):
        raise tokens.unexpected("a comma or a closing bracket")
    return tuple(sorted(values))
