"""How much memory a finished request keeps while it waits, by the sizes of its texts.

`of_answer` is for the request's path: a look at where an answer has its text, 0.1 to 0.4 microseconds. `of_all` walks
through everything, on the shadow's own thread. Neither raises: what is waited for may be of any class.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

CHUNK_BYTES = 2800  # of a chunk, as an object of the OpenAI client
_ANSWER_BYTES = 6000  # of a whole answer of the OpenAI client, without its texts
_OBJECT_BYTES, _MAPPING_BYTES, _LIST_BYTES, _ENTRY_BYTES = 900, 300, 60, 32
_TEXTS = (str, bytes, bytearray, memoryview)
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)  # their subclasses, and those that are looked at rarely
_HEAP_TYPE = 1 << 9  # of a type's flags: it is no type of C
_FEW, _MANY = 8, 20_000  # parts, and values, that are looked at


def of_answer(answer: Any) -> int:
    """An estimate of the answer alone, right where its text makes it large, in OpenAI's or Anthropic's form."""
    fields, kind = answer, type(answer)
    size = _ANSWER_BYTES
    try:
        if kind is not dict:
            if kind is list or kind is tuple:
                return CHUNK_BYTES * len(answer)
            if kind is str or kind is bytes:
                return int(answer.__sizeof__())
            fields = getattr(answer, "__dict__", None)
            if fields is None:  # told apart without an exception, which would take longer than all the rest
                return size
        parts = fields.get("choices") or fields.get("content") or fields.get("output") or ()
        for part in parts if len(parts) <= _FEW else parts[:_FEW]:
            inner = part if type(part) is dict else part.__dict__
            said = inner.get("message")
            if said is None:
                said = inner
            elif type(said) is not dict:
                said = said.__dict__
            text = said.get("content") or said.get("text")
            if type(text) is list and text:
                text = (text[0] if type(text[0]) is dict else text[0].__dict__).get("text")
            if type(text) is str:
                size += text.__sizeof__()
    except Exception:  # noqa: BLE001  # a foreign object, or one that changes at the same time
        return _ANSWER_BYTES
    return size


def of_all(*kept: Any) -> int:
    """All that ``kept`` keep in memory, texts and objects; 0 for what cannot be walked through."""
    try:
        return _walk(list(kept), _MANY)
    except Exception:  # noqa: BLE001  # as above
        return 0


def _walk(left: list[Any], most: int) -> int:
    """Takes ``most`` values from ``left``, and what is in them; each of the others counts as an entry."""
    size = 0
    while left and most > 0:
        value = left.pop()
        most -= 1
        kind = type(value)
        if kind is str or kind is bytes:
            size += value.__sizeof__()
        elif value is None or kind is int or kind is float or kind is bool:
            continue
        elif kind is list or kind is tuple or kind is dict:
            size += _MAPPING_BYTES if kind is dict else _LIST_BYTES
            if len(value) > most:  # such as 10,000 numbers of an embedding
                size += _ENTRY_BYTES * len(value)
                value = list(value)[:most] if kind is not dict else dict(list(value.items())[:most])
            left.extend(value.values() if kind is dict else value)
        else:
            size += _OBJECT_BYTES
            try:
                size += _look_into(value, kind, left, most)
            except Exception:  # noqa: BLE001, S112  # one foreign object must not hide what the others weigh
                continue
    return size + _ENTRY_BYTES * len(left)


def _look_into(value: Any, kind: type, left: list[Any], most: int) -> int:
    """Bytes of an object itself, without its fixed part; what it keeps is added to ``left``."""
    size = 0
    if issubclass(kind, _TEXTS):
        plain = next(text for text in _TEXTS if issubclass(kind, text))
        size = value.nbytes if kind is memoryview else plain.__sizeof__(value)
    elif issubclass(kind, _CONTAINERS):
        size = _ENTRY_BYTES * max(0, len(value) - most)
        left.extend(islice(dict.values(value) if issubclass(kind, dict) else iter(value), most))
    fields = getattr(value, "__dict__", None)
    if type(fields) is dict:
        left.extend(fields.values())
        more = getattr(value, "__pydantic_extra__", None)
        if type(more) is dict:
            left.extend(more.values())
    elif kind.__flags__ & _HEAP_TYPE:
        left.extend(_slots_of(value, kind))
    return size


def _slots_of(value: Any, kind: type) -> Iterator[Any]:
    """What an object keeps whose class has slots."""
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(value, name, None)


class Weights:
    """What each request that waits weighs: each is walked through once, on the shadow's own thread."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int]] = {}  # by the identity of what `Shadow.offer` appended

    def of(self, queue: Sequence[Any]) -> list[int]:
        """Bytes of each of ``queue``, in its order. Those that wait no longer are forgotten."""
        known, self._known = self._known, {}
        found = []
        for waiting in queue:
            entry = known.get(id(waiting))
            if entry is None or entry[0] is not waiting:
                finished, guessed = waiting[0], waiting[4]
                entry = (waiting, finished.size or max(guessed, of_all(finished.answer, finished.arguments)))
            self._known[id(waiting)] = entry
            found.append(entry[1])
        return found


def heaviest(weights: Sequence[int], most: int) -> list[int]:
    """Places of those that must go so that the others weigh ``most`` together: the heaviest, as few as will do."""
    over = sum(weights) - most
    gone = []
    for place in sorted(range(len(weights)), key=weights.__getitem__, reverse=True):
        if over <= 0:
            break
        over -= weights[place]
        gone.append(place)
    return gone
