"""The OpenAPI document: valid by the specification, and about the addresses that are served."""

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from edge_runtime.daemon.health import Health
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.http.openapi import describe
from tests.support.http_bench import Bench
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def test_it_is_valid_and_has_every_address_that_is_served(tmp_path):
    document = describe(DaemonStatus, Health)
    OpenAPIV31SpecValidator(document).validate()
    bench = Bench(tmp_path)
    try:
        routes = [route for route in until(lambda: bench.app).routes if isinstance(route, Route)]
    finally:
        bench.close()
    served = {(re.sub(r":[a-z]+}", "}", route.path), method) for route in routes for method in route.methods}
    described = {(path, name.upper()) for path, methods in document["paths"].items() for name in methods}
    assert {one for one in served if one[1] != "HEAD"} == described
