"""The build: chapters executed, pages made, assets and references kept."""

import sys

# nbformat imports jsonschema, which compiles a grammar of internationalized addresses where this optional package is
# installed (JupyterLab brings it): four seconds, for something that no notebook holds.
sys.modules.setdefault("rfc3987_syntax", None)
