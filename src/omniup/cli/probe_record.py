"""Keep in a probe's file how its features are computed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from omniup.errors import InputError

_KEY = "omniup_probe"


class ProbeRecord(BaseModel):
    """The encoder of a probe, and how it sees images.

    Attributes:
        encoder: its name.
        settings: of the encoder.
        weights: of the encoder, in plain words.
        resolution: as for `encode_image`.
        sides: likewise.
        precision: likewise.
        tile: likewise.
        palette: red, green and blue of each label in turn; None where the label maps have no colours.
    """

    model_config = ConfigDict(extra="forbid")

    encoder: str
    settings: dict[str, Any]
    weights: str
    resolution: int | None
    sides: str
    precision: str
    tile: int | None = None
    palette: list[int] | None

    def metadata(self) -> dict[str, str]:
        """Return the record as metadata of a file."""
        return {_KEY: self.model_dump_json()}

    @classmethod
    def read(cls, path: str, metadata: dict[str, str]) -> ProbeRecord:
        """Read the record from the metadata of a file.

        Raises:
            InputError: there is none.
        """
        try:
            return cls.model_validate_json(metadata.get(_KEY, ""))
        except ValidationError as error:
            accepted = "a file that `omniup probe fit` wrote"
            raise InputError(path, "does not say which encoder it is for", accepted) from error
