"""Secrets from files, as containers mount them: `NAME_FILE` names a file that contains the secret `NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from pydantic_settings.sources import EnvSettingsSource

SUFFIX = "_FILE"
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Unusable:
    """Takes the place of a secret that could not be read; the settings report it."""

    why: str


class SecretFiles(PydanticBaseSettingsSource):
    """Reads every secret whose `NAME_FILE` is set in one of the `beside` sources; earlier sources win."""

    def __init__(self, settings: type[BaseSettings], *, beside: tuple[EnvSettingsSource, ...]) -> None:
        super().__init__(settings)
        self._beside = beside

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret, or `Unusable`; None where no file is named."""
        if field.annotation is not SecretStr:
            return None, field_name, False
        given: list[Mapping[str, str | None]] = [source.env_vars for source in self._beside]
        file = next((path for names in given if (path := names.get(f"{field_name}_file"))), None)
        if file is None:
            return None, field_name, False
        if any(names.get(field_name) for names in given):
            return Unusable(f"and {field_name.upper()}{SUFFIX} are both set: set one"), field_name, False
        return _read(Path(file), f"({field_name.upper()}{SUFFIX})"), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All secrets that come from files."""
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def _read(path: Path, setting: str) -> str | Unusable:
    what = f"is to be read from {path} {setting}, which"
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        return Unusable(f"{what} cannot be read: {error.strerror}")
    if len(content) > _MOST_BYTES:
        return Unusable(f"{what} has more than {_MOST_BYTES >> 10} KB")
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return Unusable(f"{what} is not text in UTF-8")
    return text or Unusable(f"{what} is empty")
