"""The text of metrics, against the exposition format as its documents have it."""

from __future__ import annotations

import math

import pytest

from netloom.metrics import Histogram, Kind, Sample, counter, gauge, render


def test_samples_of_a_name_stand_together_under_one_head():
    page = render(
        [
            counter("netloom_b_total", "How often b.", 3, family="ip"),
            gauge("netloom_a", "What a is.", 0.25),
            counter("netloom_b_total", "How often b.", 4, family="ip6"),
        ]
    )
    assert page == (
        "# HELP netloom_a What a is.\n"
        "# TYPE netloom_a gauge\n"
        "netloom_a 0.25\n"
        "# HELP netloom_b_total How often b.\n"
        "# TYPE netloom_b_total counter\n"
        'netloom_b_total{family="ip"} 3\n'
        'netloom_b_total{family="ip6"} 4\n'
    )


def test_a_histogram_adds_up_and_a_value_on_a_bound_is_within():
    seen = Histogram((0.1, 1))
    for value in (0.05, 0.1, 0.5, 7):
        seen.observe(value)
    assert seen.count == 4
    assert render([seen.sample("netloom_turn_duration_seconds", "Turns.", plane="nftables")]) == (
        "# HELP netloom_turn_duration_seconds Turns.\n"
        "# TYPE netloom_turn_duration_seconds histogram\n"
        'netloom_turn_duration_seconds_bucket{plane="nftables",le="0.1"} 2\n'
        'netloom_turn_duration_seconds_bucket{plane="nftables",le="1"} 3\n'
        'netloom_turn_duration_seconds_bucket{plane="nftables",le="+Inf"} 4\n'
        'netloom_turn_duration_seconds_sum{plane="nftables"} 7.65\n'
        'netloom_turn_duration_seconds_count{plane="nftables"} 4\n'
    )


def test_a_sample_of_a_histogram_does_not_change_afterwards():
    seen = Histogram((1,))
    before = seen.sample("netloom_x_seconds", "X.")
    seen.observe(2)
    assert "netloom_x_seconds_count 0\n" in render([before])


def test_what_would_break_a_line_is_written_so_that_it_does_not():
    page = render([gauge("netloom_a", "one\ntwo \\", 1, text='say "a\\b"\nc')])
    assert page.splitlines() == [
        r"# HELP netloom_a one\ntwo \\",
        "# TYPE netloom_a gauge",
        r'netloom_a{text="say \"a\\b\"\nc"} 1',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (1e300, "1e+300"), (-2, "-2"), (1.5, "1.5")],
)
def test_numbers_that_are_none_to_python(value, text):
    assert render([gauge("netloom_a", "A.", value)]).splitlines()[-1] == f"netloom_a {text}"


@pytest.mark.parametrize(
    "samples",
    [
        [gauge("netloom-a", "A.", 1)],
        [Sample("netloom_a", "A.", Kind.GAUGE, 1, (("le-x", "1"),))],
        [gauge("netloom_a", "A.", 1), gauge("netloom_a", "A.", 2)],
        [gauge("netloom_a_total", "A.", 1)],
        [counter("netloom_a", "A.", 1)],
        [gauge("netloom_a", "A.", 1, x="1"), Histogram((1,)).sample("netloom_a", "A.")],
    ],
    ids=["name", "label", "twice", "gauge that ends in total", "counter that does not", "two kinds"],
)
def test_a_page_that_readers_would_refuse_is_not_written(samples):
    with pytest.raises(ValueError, match=r"netloom|le-x"):
        render(samples)


@pytest.mark.parametrize("bounds", [(), (1, 1), (2, 1)])
def test_bounds_must_rise(bounds):
    with pytest.raises(ValueError, match="rise"):
        Histogram(bounds)
