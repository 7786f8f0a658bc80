"""Prints the JSON Schema of `job_processor.yml`: `python -m stockqueue.config`."""

import json

from stockqueue.config import json_schema

print(json.dumps(json_schema(), indent=2))
