"""Names of Services of gateways: as GEP-1762 has them, and always names that a Service may have."""

import re

from hypothesis import given
from hypothesis import strategies as st

from netloom.model.gateways.entrances import service_of_gateway
from netloom.units import ObjectKey

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,40})?", fullmatch=True)


def test_gateway_and_class():
    assert service_of_gateway(ObjectKey("shop", "web"), "netloom") == ObjectKey("shop", "web-netloom")


@given(names, names)
def test_any_name_gives_a_name(gateway, class_name):
    key = service_of_gateway(ObjectKey("shop", gateway), class_name)
    assert len(key.name) <= 63
    assert NAME.fullmatch(key.name)


def test_long_names_that_begin_alike_stay_apart():
    long = "a" * 70
    assert len({service_of_gateway(ObjectKey("shop", long + end), "netloom") for end in "xyz"}) == 3
