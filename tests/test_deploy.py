"""The files of deploy/, each by what reads it or checks it."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from scripts.docs.metrics import families
from scripts.docs.pages import ROOT
from tests.conftest import served

DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
PACKAGES = ("app", "classifiers", "operations")


@pytest.fixture
def run() -> Callable[..., str]:
    """Run a program of the environment or the system; the test is skipped where it is not installed."""

    def run(program: str, *arguments: object, **options: Any) -> str:
        path = shutil.which(program, path=f"{BIN}:/usr/sbin:/sbin") or shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed")
        command = [path, *map(str, arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            **options,
        )
        told = done.stdout + done.stderr
        assert done.returncode == 0, told
        return told

    return run


# The image


def test_hadolint_has_nothing_to_say_of_the_dockerfile(run):
    run("hadolint", DEPLOY / "Dockerfile")


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_what_the_image_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert {"app", "classifiers", "operations", "pyproject.toml", "requirements.txt"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_packages_of_the_image_are_those_that_the_project_installs():
    packages = re.findall(r"include = \[(.+)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[0]
    for name in re.findall(r'"(\w+)"', packages):
        assert re.search(rf"^COPY {name} \./{name}$", dockerfile(), re.MULTILINE), name


def test_the_image_runs_without_rights_and_keeps_all_in_its_volume():
    text = dockerfile()
    assert "USER 10001:10001" in text.split("FROM ")[-1]
    assert 'ENTRYPOINT ["sightgraph"]' in text
    kept = re.findall(r"(SIGHTGRAPH_DATA|HF_HOME|TORCH_HOME|EASYOCR_MODULE_PATH)=(\S+)", text)
    assert len(kept) == 4
    assert all(folder.startswith("/data/") for _, folder in kept)


def test_the_health_check_of_the_image_tells_a_server_that_is_ready(room):
    (check,) = re.findall(r"HEALTHCHECK .*? CMD (\[.*\])", dockerfile())
    _, option, program = json.loads(check)
    assert "127.0.0.1:8000" in program
    with served(room) as url:
        command = [sys.executable, option, program.replace("http://127.0.0.1:8000", url)]
        assert subprocess.run(command, timeout=30, check=False).returncode == 0
    closed = [sys.executable, option, program.replace("127.0.0.1:8000", "127.0.0.1:1")]
    assert subprocess.run(closed, timeout=30, check=False, stderr=subprocess.DEVNULL).returncode != 0


# Compose


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_a_compose_file_is_of_its_schema(run, name):
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / name)


def test_the_container_has_time_to_stop_and_writes_only_its_volume():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["sightgraph"]
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().stop_within + 1
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert [port.startswith("127.0.0.1:") for port in service["ports"]] == [True]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_every_variable_of_the_example_is_a_setting():
    text = (DEPLOY / "sightgraph.env.example").read_text(encoding="utf-8")
    for name in re.findall(r"^#?SIGHTGRAPH_(\w+)=", text, re.MULTILINE):
        assert name.lower() in Settings.model_fields


# systemd


def unit(tmp_path: Path) -> Path:
    """The unit, with the command of this environment in place of the one that it installs."""
    text = (DEPLOY / "sightgraph.service").read_text(encoding="utf-8")
    assert "/opt/sightgraph/.venv/bin/sightgraph serve" in text
    path = tmp_path / "sightgraph.service"
    path.write_text(text.replace("/opt/sightgraph/.venv/bin/sightgraph", str(BIN / "sightgraph")))
    return path


def test_systemd_understands_every_line_of_the_unit(run, tmp_path):
    told = run("systemd-analyze", "verify", "--man=no", unit(tmp_path))
    assert "sightgraph.service" not in told, told


def test_the_unit_is_exposed_to_little(run, tmp_path):
    run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit(tmp_path))


def test_the_unit_has_time_to_stop(tmp_path):
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit(tmp_path).read_text(), re.MULTILINE)
    assert int(seconds) > Settings().stop_within + 1


# Proxies


def certificate(run: Callable[..., str], folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ("-subj", "/CN=images.example.org", "-days", "1", "-nodes")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", *subject, "-out", certificate, "-keyout", key)
    return certificate, key


def test_nginx_takes_its_file(run, tmp_path):
    chain, key = certificate(run, tmp_path)
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    text = text.replace("/etc/ssl/certs/images.example.org.pem", str(chain))
    text = text.replace("/etc/ssl/private/images.example.org.key", str(key))
    paths = "\n".join(
        f"{name}_temp_path {tmp_path}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {paths}\n"
        f"{text.replace('listen 443', f'listen unix:{tmp_path}/socket')} }}"
    )
    run("nginx", "-t", "-q", "-e", tmp_path / "errors", "-c", whole)


def test_caddy_takes_its_file(run, tmp_path):
    run(
        "caddy",
        *("validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile"),
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )


@pytest.mark.parametrize(("name", "limit"), [("nginx.conf", "512m"), ("Caddyfile", "512MB")])
def test_a_proxy_lets_the_largest_body_through_that_the_server_takes(name, limit):
    from app.api.index_bodies import ITEMS_FORM_MAX_BYTES

    assert limit in (DEPLOY / name).read_text(encoding="utf-8")
    assert ITEMS_FORM_MAX_BYTES <= 512 * 10**6


# Alerts


def test_prometheus_takes_the_rules(run):
    run("promtool", "check", "rules", DEPLOY / "alerts.yaml")


def test_every_metric_of_the_rules_is_one_of_the_server():
    known = {family.name: family for family in families()}
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    for rule in rules:
        for name, labels in re.findall(r"\b(sightgraph_\w+)(?:\{(.*?)\})?", rule["expr"]):
            family = known[re.sub(r"_(total|bucket)$", "", name)]
            have = {label for sample in family.samples for label in sample.labels}
            assert set(re.findall(r"(\w+)\s*[!=]=?~?\"", labels)) <= have, name


def test_no_file_names_where_packages_or_images_come_from():
    for path in (*DEPLOY.iterdir(), ROOT / ".dockerignore"):
        assert not re.search(
            r"pypi\.|docker\.io|ghcr\.|quay\.|files\.pythonhosted", path.read_text("utf-8")
        ), path


# The package


def test_an_installation_has_every_file_of_the_package(run, tmp_path):
    """As the image installs it: of what the Dockerfile copies, and not in place."""
    for source in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / source, tmp_path)
    for source in PACKAGES:
        shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
    run(
        "python",
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--disable-pip-version-check", "--wheel-dir", tmp_path / "wheel", tmp_path),
    )
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        packed = set(opened.namelist())
    files = {
        str(path.relative_to(ROOT))
        for source in PACKAGES
        for path in (ROOT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - packed == set()
