"""Requests drawn from the service's own description: no answer is a defect, nor one that it does not describe."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import status_code_conformance

_EXAMPLES = 6
"""Per route: all of them together take well below a minute."""
_ENDLESS = {"/v1/fleet/events/stream"}


def _routes(app):
    schema = schemathesis.openapi.from_dict(app.openapi())
    return [route for result in schema.get_all_operations() if (route := result.ok()).path not in _ENDLESS]


def test_no_request_that_the_description_gives_rise_to_breaks_the_service(app, served, admin, client):
    client.post("/v1/fleet/cameras", json={"controller_id": "a", "labels": {"site": "berlin"}}, headers=admin)
    client.put("/v1/fleet/groups/berlin", json={"selector": "site=berlin"}, headers=admin)
    routes = _routes(app)
    assert {route.path for route in routes} >= {"/v1/fleet/cameras", "/v1/fleet/packages", "/healthz"}
    for route in routes:
        _fuzz(route, served.url, admin)
    assert client.get("/readyz").status_code == 200


def _fuzz(route, url, headers):
    @seed(7)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=False,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def sends(data):
        case = data.draw(route.as_strategy())
        response = case.call(base_url=url, headers=headers, timeout=30)
        assert response.status_code != 500, response.text  # 503 is an answer, where the description has it
        case.validate_response(response, checks=[status_code_conformance])

    sends()
