"""Clients of the Open Inference Protocol that nobody here wrote: tritonclient, by HTTP and by gRPC."""

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http


@pytest.fixture
def settings(settings):
    """With gRPC, on a free port."""
    return settings.model_copy(update={"grpc_port": 0})


@pytest.fixture
def grpc_address(app):
    """Where the running app speaks gRPC."""
    return f"127.0.0.1:{app.state.grpc_port}"


@pytest.fixture
def by_http(served):
    """Triton's HTTP client of the running app."""
    with tritonclient.http.InferenceServerClient(served.url.removeprefix("http://"), network_timeout=60) as client:
        yield client


@pytest.fixture
def by_grpc(grpc_address):
    """Triton's gRPC client of the running app."""
    with tritonclient.grpc.InferenceServerClient(grpc_address) as client:
        yield client


@pytest.fixture(params=["http", "grpc"])
def triton(request):
    """Each of the two, with the module that has its tensors."""
    return request.getfixturevalue(f"by_{request.param}"), {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]


@pytest.fixture
def viewer(viewer):
    """As gRPC wants its metadata."""
    return {name.lower(): value for name, value in viewer.items()}


@pytest.fixture
def windows():
    """Three windows of an image, uint8 [N, S, S, 3]."""
    return np.random.default_rng(3).integers(0, 256, (3, 96, 96, 3), np.uint8)
