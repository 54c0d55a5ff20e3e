"""Format the numbers, times and values of findings for people, in the same way in all messages.

Each function has a namesake in the Painless scripts that need it, like the functions of ``common``.
"""

from __future__ import annotations

from math import floor, log10
from unicodedata import is_normalized

MAX_SHOWN = 40
"""The largest number of characters of a name or a value in the line that becomes a subject."""
NO_BREAK = "\xa0\u2007\u202f"


def round_half_up(value: float) -> int:
    """Round to the nearest integer as Painless does, halves upwards."""
    return floor(value + 0.5)


def format_count(number: int) -> str:
    """Format a whole number with thousands separators."""
    return f"{number:,}"


def format_amount(number: int, noun: str) -> str:
    """Format a number of something: ``1 event``, ``1,151 events``."""
    return format_count(number) + " " + noun + ("" if number == 1 else "s")


def format_percent(rate: float) -> str:
    """Format a rate as a percentage with one decimal: ``10.6 %``, ``0 %``, ``< 0.1 %``, ``> 99.9 %``, ``100 %``."""
    if rate <= 0 or rate == 1:
        return "100 %" if rate == 1 else "0 %"
    tenths = round_half_up(rate * 1000.0)
    if tenths == 0:
        return "< 0.1 %"
    if rate < 1 and tenths == 1000:
        return "> 99.9 %"
    return format_count(tenths // 10) + f".{tenths % 10} %"


def format_number(value: float) -> str:
    """Format a number for people: whole from 1,000 on, two decimals from 1 on, four below."""
    sign, size = ("-", -value) if value < 0 else ("", value)
    if size >= 1e15:
        return f"{sign}1e{floor(log10(size))}"
    decimals = 0 if size >= 1000 or size == 0 else 2 if size >= 1 else 4
    scale = 10**decimals
    scaled = floor(size * scale + 0.5)
    if decimals == 0:
        return sign + format_count(scaled)
    return f"{sign}{scaled // scale}.{scaled % scale:0{decimals}d}"


def format_span(seconds: float) -> str:
    """Format a length of time for people: ``59 s``, ``10 min``, ``2 h``, ``26 days 22 h``."""
    if seconds < 120:
        return f"{round_half_up(seconds)} s"
    if seconds < 7200:
        return f"{round_half_up(seconds / 60)} min"
    hours = round_half_up(seconds / 3600)
    if seconds < 172800:
        return f"{hours} h"
    rest = f" {hours % 24} h" if hours % 24 > 0 else ""
    return f"{format_count(hours // 24)} days{rest}"


def format_window(window: str) -> str:
    """Format the length of a window for people: ``15m`` as ``15 min``."""
    number, unit = window[:-1], window[-1:]
    if unit == "d":
        return number + (" day" if number == "1" else " days")
    return number + (" min" if unit == "m" else " " + unit)


def format_time(instant: str) -> str:
    """Format an instant in UTC to the second; any other text is returned as it is."""
    if len(instant) > 18 and instant[10] == "T" and instant.endswith("Z"):
        return instant[:10] + " " + instant[11:19] + " UTC"
    return instant


def format_chance(tail: float) -> str:
    """Format a probability with one digit: ``p = 4e-24``."""
    if tail < 1e-300:
        return "p < 1e-300"
    exponent = floor(log10(tail))
    digit = round_half_up(tail / 10.0**exponent)
    return f"p = 1e{exponent + 1}" if digit == 10 else f"p = {digit}e{exponent}"


def clip(text: str) -> str:
    """Cut a text to MAX_SHOWN characters."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def show_value(text: str) -> str:
    """Write the invisible parts of a value as escapes such as ``\\u00a0``.

    These are special blanks, invisible characters and, in a text that is not in Unicode's composed form (NFC),
    combining marks.
    """
    is_composed = is_normalized("NFC", text)
    return "".join(
        f"\\u{ord(character):04x}"
        if is_invisible(character) or (not is_composed and is_combining(character))
        else character
        for character in text
    )


def note_value(text: str) -> str:
    """Describe how a value that looks like another one may differ from it; empty if the difference is visible."""
    notes = []
    if text.startswith(" "):
        notes.append("leading blank")
    if text.endswith(" "):
        notes.append("trailing blank")
    if "  " in text:
        notes.append("double blank")
    if any(character in NO_BREAK for character in text):
        notes.append("non-breaking blank")
    if any(is_invisible(character) and character not in NO_BREAK for character in text):
        notes.append("invisible character")
    if not is_normalized("NFC", text):
        notes.append("decomposed letters, NFD")
    return ", ".join(notes)


def is_invisible(character: str) -> bool:
    """Return whether a character is a control, a blank other than the common one, or has no width."""
    return (
        character < " "
        or "\x7f" <= character <= "\xa0"
        or "\u2000" <= character <= "\u200f"
        or "\u2028" <= character <= "\u202f"
        or "\u205f" <= character <= "\u206f"
        or character in "\xad\u1680\u3000\ufeff"
    )


def is_combining(character: str) -> bool:
    """Return whether a character is a mark on the letter before it, as in decomposed letters."""
    return "\u0300" <= character <= "\u036f" or character in "\u3099\u309a"


def format_example(value: str, count: int) -> str:
    """Format a value and its count, with a note on invisible parts: ``"RENT " (42, trailing blank)``."""
    note = note_value(value)
    text = value if note == "" else '"' + show_value(value) + '"'
    return f"{text} ({format_count(count)}{', ' + note if note != '' else ''})"
