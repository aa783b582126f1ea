"""What verbs share that ask the model: a cluster's settings, known for local clusters and guessed for others."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from netloom.model.inputs import ClusterFacts, ClusterView
from netloom.observe.settings import guessed_facts


def facts_for(options: argparse.Namespace) -> Callable[[ClusterView], ClusterFacts]:
    """The settings of the cluster that ``--name`` or ``--kubeconfig`` mean, given what is in it.

    Raises:
        NotFound: there is no such local cluster.
    """
    if options.kubeconfig:
        return guessed_facts
    from netloom.local import cluster  # noqa: PLC0415 - not needed for other clusters
    from netloom.local.settings import cluster_facts  # noqa: PLC0415 - as above

    facts = cluster_facts(cluster.settings_of(cluster.existing(options.name)))
    return lambda _: facts
