"""Label selectors of objects of ours, read so that one that means nothing selects nobody, and is told of. Pure."""

from __future__ import annotations

from netloom.api.meta import LabelSelector
from netloom.api.selectors import Requirement, Selector, from_selector
from netloom.model.provenance import Finding, Source

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
"""Of meta/v1 LabelSelectorRequirement."""
_NOBODY = Selector((Requirement("", "In"),))


def read_selector(selector: LabelSelector | None, source: Source, findings: list[Finding]) -> Selector | None:
    """The selector; None where there is none.

    Args:
        selector: as it is written.
        source: the object and its field.
        findings: where what cannot be meant is added.
    """
    if selector is None:
        return None
    for number, expression in enumerate(selector.match_expressions):
        if expression.operator not in OPERATORS:
            field = source.at(f"{source.field}.matchExpressions[{number}].operator")
            problem = f"{expression.operator!r} is none of {', '.join(OPERATORS)}: nobody is selected"
            findings.append(Finding(field, problem, "mend the selector"))
            return _NOBODY
    return from_selector(selector)
