import os

import pytest
import torch

from shared.contracts.training import Compute, Precision
from shared.picosam.placement import place, threads_for


def test_inputs_are_pixels_over_256_in_channels_last_order():
    images = torch.arange(2 * 3 * 4 * 4).remainder(256).to(torch.uint8).view(2, 3, 4, 4)
    inputs = place(Compute(device="cpu")).inputs(images)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inputs, images / 256, rtol=0, atol=0)


@pytest.mark.parametrize(("precision", "dtype"), [(Precision.BF16, torch.bfloat16), (Precision.FP32, torch.float32)])
def test_precision_is_that_of_the_convolutions(precision, dtype):
    placement = place(Compute(device="cpu", precision=precision))
    layer = placement.put(torch.nn.Conv2d(3, 4, 1))
    with placement.autocast():
        assert layer(torch.zeros(1, 3, 4, 4)).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_automatic_precision_needs_hardware_for_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    assert not place(Compute(device="cpu")).bf16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert place(Compute(device="cpu")).bf16


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens on a machine without CUDA")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="choose auto or cpu"):
        place(Compute(device="cuda"))
    assert place(Compute(device="auto")).device.type == "cpu"


def test_processes_share_out_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads_for(Compute()) == 8
    assert threads_for(Compute(processes=3)) == 2
    assert threads_for(Compute(processes=16)) == 1
    assert threads_for(Compute(processes=4, threads=5)) == 5
