"""How many steps a regular expression takes: a matcher that backtracks and counts.

It works as the engine of `re` does, over the tree that `re` makes of a pattern, so that
its steps grow as the time of the engine does, on every machine alike.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from itertools import islice, product
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser
from typing import Any


_SCANNING = {"search", "sub", "subn", "split", "findall", "finditer"}
_REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT)
_IGNORECASE, _DOTALL = int(re.IGNORECASE), int(re.DOTALL)
_MULTILINE = int(re.MULTILINE)
Then = Callable[[int], bool]


class TooMany(Exception):
    """More steps than were allowed."""


@functools.cache
def _parsed(pattern: str | bytes, flags: int) -> tuple[Any, dict[Any, bool]]:
    """The tree of a pattern, and which characters its nodes are known to fit."""
    return _parser.parse(pattern, flags & ~re.DEBUG), {}


class Matcher:
    """One pattern over one text.

    Args:
        pattern: the pattern, compiled.
        text: what it is tried on.
        most: how many steps are allowed.
    """

    def __init__(self, pattern: re.Pattern[Any], text: str, most: int) -> None:
        self.tree, self._known = _parsed(pattern.pattern, pattern.flags)
        self.text, self.end = text, len(text)
        self.flags, self.most, self.steps = pattern.flags, most, 0
        self.groups: set[int] = set()

    def spans(self, method: str) -> list[tuple[int, int]]:
        """What `method` of the pattern finds; all that it finds where it goes on.

        Raises:
            TooMany: it takes more steps than allowed.
        """
        found, at = [], 0
        while at <= self.end:
            ends: list[int] = []
            whole = method == "fullmatch"

            def then(end: int, ends: list[int] = ends, *, whole: bool = whole) -> bool:
                if whole and end != self.end:
                    return False
                ends.append(end)
                return True

            self.groups.clear()
            matched = self._run(self.tree.data, at, then)
            if matched:
                found.append((at, ends[0]))
            if method not in _SCANNING or (matched and method == "search"):
                break
            # As `re` does: an empty match moves on by one.
            at = ends[0] if matched and ends[0] > at else at + 1
        return found

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self.most:
            raise TooMany

    def _run(self, nodes: list[Any], at: int, then: Then) -> bool:
        """Match the nodes from `at` on, and what comes after them."""
        while nodes and nodes[0][0] in _ONE:
            self._step()
            if at >= self.end or not self._fits(nodes[0], self.text[at]):
                return False
            nodes, at = nodes[1:], at + 1
        if not nodes:
            return then(at)
        self._step()
        (op, argument), rest = nodes[0], nodes[1:]
        go_on: Then = lambda end: self._run(rest, end, then)  # noqa: E731
        if op is c.BRANCH:
            return any(self._run(one.data, at, go_on) for one in argument[1])
        if op is c.SUBPATTERN:
            return self._group(*argument, at, go_on)
        if op in _REPEATS:
            return self._repeat(op, argument, at, go_on)
        return self._other(op, argument, at, go_on)

    def _other(self, op: Any, argument: Any, at: int, go_on: Then) -> bool:
        if op is c.GROUPREF_EXISTS:
            chosen = argument[1 if argument[0] in self.groups else 2] or []
            return self._run(list(chosen), at, go_on)
        if op is c.ATOMIC_GROUP:
            return self._atomic(argument.data, at, go_on)
        if op in (c.ASSERT, c.ASSERT_NOT):
            return self._looks(argument, at) == (op is c.ASSERT) and go_on(at)
        if op is c.AT:
            return self._is_at(argument, at) and go_on(at)
        raise NotImplementedError(op)

    def _group(
        self, group: int | None, on: int, off: int, tree: Any, at: int, go_on: Then
    ) -> bool:
        outside, had = self.flags, group in self.groups

        def closed(end: int) -> bool:
            inside, self.flags = self.flags, outside
            if group is not None:
                self.groups.add(group)
            if go_on(end):
                return True
            self.flags = inside
            if group is not None and not had:
                self.groups.discard(group)
            return False

        self.flags = outside & ~off | on
        matched = self._run(tree.data, at, closed)
        self.flags = outside
        return matched

    def _atomic(self, nodes: list[Any], at: int, go_on: Then) -> bool:
        ends: list[int] = []
        return self._run(nodes, at, lambda end: not ends.append(end)) and go_on(ends[0])

    def _looks(self, argument: tuple[int, Any], at: int) -> bool:
        direction, tree = argument
        if direction > 0:
            return self._run(tree.data, at, lambda _: True)
        start = at - tree.getwidth()[0]
        return start >= 0 and self._run(tree.data, start, lambda end: end == at)

    def _repeat(self, op: Any, argument: Any, at: int, go_on: Then) -> bool:
        least, most, tree = argument
        most = sys.maxsize if most is c.MAXREPEAT else most
        nodes = tree.data
        if len(nodes) == 1 and nodes[0][0] in _ONE:
            return self._repeat_one(op, least, most, nodes[0], at, go_on)
        if op is c.POSSESSIVE_REPEAT:
            count, ends = 0, [at]
            while count < most and self._run(nodes, at, lambda e: not ends.append(e)):
                count += 1
                if ends[-1] == at:
                    break
                at = ends[-1]
            return count >= least and go_on(at)

        def further(at: int, count: int, before: int) -> bool:
            def again() -> bool:
                return (
                    count < most
                    and at != before
                    and self._run(nodes, at, lambda e: further(e, count + 1, at))
                )

            if count < least:
                return self._run(nodes, at, lambda e: further(e, count + 1, -1))
            if op is c.MIN_REPEAT:
                return go_on(at) or again()
            return again() or go_on(at)

        return further(at, 0, -1)

    def _repeat_one(
        self, op: Any, least: int, most: int, node: Any, at: int, go_on: Then
    ) -> bool:
        """A repeat of one character, as the engine does it: in a loop."""
        start = at
        while at < self.end and at - start < most and self._fits(node, self.text[at]):
            self._step()
            at += 1
        if at - start < least:
            return False
        if op is c.POSSESSIVE_REPEAT:
            return go_on(at)
        ends = range(start + least, at + 1)
        for end in ends if op is c.MIN_REPEAT else reversed(ends):
            self._step()
            if go_on(end):
                return True
        return False

    def _fits(self, node: Any, char: str) -> bool:
        # A node stays where it is, since its tree is kept.
        key = id(node), char, self.flags
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._fits_anew(node, char)
        return known

    def _fits_anew(self, node: Any, char: str) -> bool:
        op, argument = node
        if op is c.ANY:
            return bool(self.flags & _DOTALL) or char != "\n"
        forms = {char}
        if self.flags & _IGNORECASE:
            forms |= {f for f in (char.lower(), char.upper()) if len(f) == 1}
        if op is c.LITERAL:
            return any(ord(form) == argument for form in forms)
        if op is c.NOT_LITERAL:
            return all(ord(form) != argument for form in forms)
        negate = argument[0][0] is c.NEGATE
        return any(_in(item, f) for item in argument for f in forms) != negate

    def _is_at(self, where: Any, at: int) -> bool:
        text, end = self.text, self.end
        if where in (c.AT_BOUNDARY, c.AT_NON_BOUNDARY):
            before = at > 0 and _is_word(text[at - 1])
            after = at < end and _is_word(text[at])
            return (before != after) == (where is c.AT_BOUNDARY)
        if where is c.AT_BEGINNING and self.flags & _MULTILINE:
            return at == 0 or text[at - 1] == "\n"
        if where in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
            return at == 0
        if where is c.AT_END and self.flags & _MULTILINE:
            return at == end or text[at] == "\n"
        if where is c.AT_END:
            return at == end or (at == end - 1 and text[at] == "\n")
        return at == end


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


_ONE = {c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN}
_CATEGORIES = {
    c.CATEGORY_DIGIT: str.isdigit,
    c.CATEGORY_NOT_DIGIT: lambda x: not x.isdigit(),
    c.CATEGORY_SPACE: str.isspace,
    c.CATEGORY_NOT_SPACE: lambda x: not x.isspace(),
    c.CATEGORY_WORD: _is_word,
    c.CATEGORY_NOT_WORD: lambda x: not _is_word(x),
}


def _in(item: Any, char: str) -> bool:
    op, argument = item
    if op is c.LITERAL:
        return ord(char) == argument
    if op is c.RANGE:
        return argument[0] <= ord(char) <= argument[1]
    return op is c.CATEGORY and _CATEGORIES[argument](char)


# Texts that can take long.

_CHARS = "a0 -.\t\n\r@<>\"'=:;,/%*\\_&#()[]!?+AZ\0\x7f\xe9\u0416"
_MOST_WAYS = 8


def attacks(pattern: re.Pattern[Any], length: int) -> set[str]:
    """Texts on which a pattern could take long, if it can: what its repeats repeat.

    Before each repeat stands what leads to it, and that is repeated, too, with and
    without a character of the repeat; at the end stands what does not fit.
    """
    matcher = Matcher(pattern, "", 0)
    found = set()
    for before, node in _repeats(matcher, list(matcher.tree), [""]):
        body = list(node[1][2])
        chars = [x for x in _CHARS if len(body) == 1 and _one(matcher, body[0], x)]
        inside = list(islice(_ways(matcher, body), _MOST_WAYS))
        for lead, unit in product(before, [*chars[:3], *inside, ""]):
            for start, again in ((lead, unit), ("", lead + unit), ("", lead)):
                if again and len(again) <= length // 4:
                    text = start + again * (length // len(again))
                    found |= {text + tail for tail in ("", "\0", "\n", "!")}
    return found


def _one(matcher: Matcher, node: Any, char: str) -> bool:
    return node[0] in _ONE and matcher._fits(node, char)


def _repeats(
    matcher: Matcher, nodes: list[Any], before: list[str]
) -> Iterator[tuple[list[str], Any]]:
    """Each repeat without an upper bound, and texts that lead to it."""
    for node in nodes:
        op, argument = node
        if op in _REPEATS:
            if argument[1] is c.MAXREPEAT or argument[1] > _MOST_WAYS:
                yield before, node
            yield from _repeats(matcher, list(argument[2]), before)
        elif op is c.SUBPATTERN:
            yield from _repeats(matcher, list(argument[3]), before)
        elif op is c.ATOMIC_GROUP:
            yield from _repeats(matcher, list(argument), before)
        elif op is c.BRANCH:
            for one in argument[1]:
                yield from _repeats(matcher, list(one), before)
        elif op in (c.ASSERT, c.ASSERT_NOT):
            yield from _repeats(matcher, list(argument[1]), before)
        ways = list(islice(_ways(matcher, [node]), _MOST_WAYS))
        before = [a + b for a, b in islice(product(before, ways), _MOST_WAYS)]


def _ways(matcher: Matcher, nodes: list[Any]) -> Iterator[str]:
    """Short texts that the nodes match, assertions left aside."""
    choices: list[list[str]] = []
    for node in nodes:
        op, argument = node
        if op in _ONE:
            fit = [x for x in _CHARS if matcher._fits(node, x)]
            if not fit or op is c.LITERAL:
                chars = map(chr, range(0xE000))
                fit = [next(x for x in chars if matcher._fits(node, x))]
            choices.append(fit[:2])
        elif op is c.SUBPATTERN:
            choices.append(list(islice(_ways(matcher, list(argument[3])), _MOST_WAYS)))
        elif op is c.ATOMIC_GROUP:
            choices.append(list(islice(_ways(matcher, list(argument)), _MOST_WAYS)))
        elif op is c.BRANCH:
            each = [list(islice(_ways(matcher, list(one)), 2)) for one in argument[1]]
            choices.append([way for ways in each for way in ways][:_MOST_WAYS])
        elif op in _REPEATS:
            ways = list(islice(_ways(matcher, list(argument[2])), 2))
            least = max(argument[0], 1)
            choices.append([way * least for way in ways] + [""] * (argument[0] == 0))
    for parts in product(*choices):
        yield "".join(parts)
