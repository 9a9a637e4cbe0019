"""What is done with all parts: run, verify, publish, show."""

import sys

# nbformat's jsonschema would build a grammar of international addresses, seconds in every process; no notebook has
# any.  Where the package is missing, jsonschema leaves that check out.
sys.modules.setdefault("rfc3987_syntax", None)
