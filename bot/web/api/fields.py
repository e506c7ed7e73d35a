"""Fields of a JSON body, read strictly: wrong and unknown fields are refused, by name."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from bot.web.api.refusal import ApiError
from context.intake.limits import MAX_BYTES as MAX_PICTURE_BYTES

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,60};base64,", re.IGNORECASE)


class Fields:
    """A body, or an object inside one.  Every getter raises `ApiError` naming the field."""

    def __init__(self, values: Mapping[str, Any], *, path: str = "") -> None:
        self._values = values
        self._path = path

    def name(self, field: str) -> str:
        """Its path, for error messages: `messages[2].content`."""
        return f"{self._path}{field}"

    def known(self, names: Collection[str]) -> None:
        """Refuse every field that is not one of these: an unknown field might change the meaning."""
        for field in self._values:
            if field not in names:
                shown = field if field.isprintable() else ascii(field)
                wrong(f"Unknown parameter: {shown[:60]!r}.", self.name(field[:60]), "unknown_parameter")

    def get(self, field: str) -> Any:
        """The value as it came; None if it is absent or null."""
        return self._values.get(field)

    def text(self, field: str, *, most: int, needed: bool = False) -> str:
        """A string; empty if absent."""
        value = self.get(field)
        if value is None:
            if needed:
                wrong("Missing required parameter.", self.name(field), "missing_required_parameter")
            return ""
        if not isinstance(value, str):
            wrong("Must be a string.", self.name(field), "invalid_type")
        if len(value) > most:
            wrong(f"At most {most} characters.", self.name(field), "string_above_max_length")
        return value

    def boolean(self, field: str) -> bool:
        """A boolean; False if absent."""
        value = self.get(field)
        if value is not None and not isinstance(value, bool):
            wrong("Must be true or false.", self.name(field), "invalid_type")
        return bool(value)

    def whole(self, field: str, *, least: int, most: int) -> int | None:
        """An integer within bounds; None if absent."""
        value = self.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            wrong("Must be a whole number.", self.name(field), "invalid_type")
        if not least <= value <= most:
            allowed = f"between {least} and {most}" if most > least else str(most)
            wrong(f"Must be {allowed}.", self.name(field), "invalid_value")
        return value

    def number(self, field: str, *, above: float, most: float) -> float | None:
        """A number above one bound and up to another; None if absent."""
        value = self.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            wrong("Must be a number.", self.name(field), "invalid_type")
        if not above < value <= most:
            least = "0" if above < 0 else f"above {above:g}"
            wrong(f"Must be between {least} and {most:g}.", self.name(field), "invalid_value")
        return float(value)

    def choice(self, field: str, among: Collection[str]) -> str:
        """One of the given words; empty if absent."""
        value = self.get(field)
        if value is None:
            return ""
        if not isinstance(value, str) or value not in among:
            wrong(f"Must be one of: {', '.join(sorted(among))}.", self.name(field), "invalid_value")
        return value

    def objects(self, field: str, *, most: int) -> list[Fields]:
        """A list of objects, at least one."""
        value = self.get(field)
        if value is None:
            wrong("Missing required parameter.", self.name(field), "missing_required_parameter")
        if not isinstance(value, list) or not value:
            wrong("Must be a list with at least one entry.", self.name(field), "invalid_type")
        if len(value) > most:
            wrong(f"At most {most} entries.", self.name(field), "array_above_max_length")
        found = []
        for place, each in enumerate(value):
            path = f"{self.name(field)}[{place}]"
            if not isinstance(each, dict):
                wrong("Must be an object.", path, "invalid_type")
            found.append(Fields(each, path=f"{path}."))
        return found

    def inner(self, field: str) -> Fields:
        """An object; an empty one if absent."""
        value = self.get(field)
        if value is not None and not isinstance(value, dict):
            wrong("Must be an object.", self.name(field), "invalid_type")
        return Fields(value or {}, path=f"{self.name(field)}.")


def picture_of(url: str, *, param: str, bare: bool = False) -> bytes:
    """The bytes of a data URL; with `bare`, also of plain base64.  Nothing is ever fetched."""
    found = _DATA_URL.match(url)
    if found is None and (not bare or ":" in url[:64]):
        is_data = url[:5].lower() == "data:"
        why = "this one does not begin so" if is_data else "this server fetches nothing from other addresses"
        told = f"Pictures are taken as data URLs only (data:image/jpeg;base64,...): {why}."
        wrong(told, param, "invalid_image_url")
    data = url[found.end() :] if found else url
    if len(data) > MAX_PICTURE_BYTES * 4 // 3 + 4:
        wrong(f"A picture may have {MAX_PICTURE_BYTES >> 20} MB.", param, "image_too_large")
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        wrong("Not valid base64.", param, "invalid_base64")
    if not decoded:
        wrong("The picture is empty.", param, "invalid_image")
    return decoded


def wrong(message: str, param: str, code: str) -> NoReturn:
    """Refuse the request because of one field."""
    raise ApiError(400, message, param=param, code=code)
