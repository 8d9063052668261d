"""The client is light: who imports it imports no server."""

import subprocess
import sys

HEAVY = (
    "torch",
    "litestar",
    "uvicorn",
    "numpy",
    "PIL",
    "app.api",
    "app.engines",
    "app.runtime",
    "operations",
)


def test_the_client_imports_no_server_and_no_pixels():
    code = f"import app.client, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
