"""What the OpenAPI page says of the requests' bodies: read by `upload`, so that no byte of them meets the disk."""

from __future__ import annotations

from typing import Any

from distilvox.serve.upload import FORM

RECORDING = {"type": "string", "format": "binary", "description": "WAV, FLAC, Ogg, MP3 … of any rate"}
RECORDINGS = {"type": "array", "items": RECORDING, "minItems": 1}
NAME = {"type": "string", "description": "of a person in the book"}
THRESHOLD = {
    "type": "number",
    "minimum": -1,
    "maximum": 1,
    "description": "a cosine that decides, not the model's own",
}
FALSE_ACCEPT = {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 1,
    "description": "share that the threshold is set for",
}

Fields = dict[str, dict[str, Any]]

EMBED: Fields = {"file": RECORDING}
VERIFY: Fields = {
    "file": RECORDING,
    "other": RECORDING | {"description": "a recording to compare with; or give a name"},
    "name": NAME | {"description": "of an enrolled person to compare with; or give another recording"},
    "threshold": THRESHOLD,
    "false_accept": FALSE_ACCEPT,
}
ENROL: Fields = {
    "name": NAME,
    "file": RECORDINGS,
    "force": {
        "type": "boolean",
        "default": False,
        "description": "enrol recordings that do not fit the others",
    },
}
IDENTIFY: Fields = {
    "file": RECORDING,
    "top": {"type": "integer", "minimum": 1, "maximum": 100, "default": 5, "description": "how many people"},
    "threshold": THRESHOLD,
}


def body(fields: Fields, *needed: str) -> dict[str, Any]:
    """The part of an operation that describes its form."""
    schema = {"type": "object", "properties": fields, "required": list(needed), "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {FORM: {"schema": schema}}}}
