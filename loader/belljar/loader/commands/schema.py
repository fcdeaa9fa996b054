"""`belljar schema`: print the JSON Schema of manifests; docs/manifest.schema.json is what it prints."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from belljar.loader.manifest.model import Manifest

if TYPE_CHECKING:
    from belljar.loader.options import Parsed


def schema_text() -> str:
    """Return the schema, as it is published."""
    schema = Manifest.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "https://belljar.dev/manifest.schema.json"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main(_parsed: Parsed) -> int:
    """Print the schema."""
    sys.stdout.write(schema_text())
    return 0
