"""How errors of the whole request become answers."""

import pytest

from app.api.errors import STATUS
from app.core.errors import Overloaded, RequestError


@pytest.mark.parametrize("kind", RequestError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_refusal_has_a_status_of_its_own_side(kind):
    status = STATUS[kind]
    assert 400 <= status < 500 or kind is Overloaded


@pytest.mark.parametrize("path", ["/nowhere", "/analyze_image/nowhere", "/schema/nothing.json"])
def test_an_unknown_path_says_so(client, path):
    response = client.get(path)
    assert response.status_code == 404


def test_a_wrong_method_says_so(client):
    response = client.get("/analyze_image/")
    assert response.status_code == 405
    assert response.json() == {"detail": "Method Not Allowed"}
