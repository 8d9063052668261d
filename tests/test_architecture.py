"""The house: which room may import which, and what is light."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "transformers", "cv2", "onnxruntime", "scipy", "skimage")


def test_imports_run_inward():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import app.core.resolver, app.core.catalog",
        "import app.cli; app.cli.main(['--help'], standalone_mode=False)",
        "from app.core.registry import discover; discover('operations')",
        "import app.main",
    ],
    ids=["core", "help", "registry", "main"],
)
def test_nothing_heavy_is_imported(code):
    told = f"{code}\nimport sys\nprint('loaded:', [m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_the_core_needs_no_http():
    told = (
        "import app.core.resolver, sys; print([m for m in ('litestar', 'httpx', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_pins_carry_hashes_and_no_address():
    for name in ("requirements.txt", "requirements-uv.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "://" not in text
        assert "--index-url" not in text
        assert text.count("--hash=sha256:") > text.count("==") > 0
