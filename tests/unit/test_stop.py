"""A signal is remembered, not obeyed at once."""

from __future__ import annotations

import os
import signal

import pytest
from accelerate import Accelerator

from rft.stop import stop_on_sigterm


@pytest.fixture(autouse=True)
def handlers_restored():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_is_remembered():
    request, accelerator = stop_on_sigterm(), Accelerator(cpu=True)
    assert not request.asked_anywhere(accelerator)
    os.kill(os.getpid(), signal.SIGTERM)
    assert request.asked_anywhere(accelerator)
