"""netloom.io/v1alpha1 BGPPeer: types as schema.json has them. Read by tools/generate_schema.py only.

The same in the words of a CustomResourceDefinition: deploy/crds/bgppeers.yaml; a test holds the two together.
"""

from __future__ import annotations

from schema_custom import field, type_

PACKAGES = {"bgp": "io.netloom.v1alpha1"}
KINDS = {"netloom.io/v1alpha1/BGPPeer": "bgp.BGPPeer"}

TYPES: dict[str, dict[str, object]] = {
    "bgp.BGPPeer": type_(
        "A router outside that nodes tell their routes to, and hear others' from.",
        apiVersion=field("string", "Group and version of this representation of the object."),
        kind=field("string", "The kind of object."),
        metadata=field("meta.ObjectMeta", "Name, labels and bookkeeping of the object.", required=True),
        spec=field("bgp.BGPPeerSpec", "What is wanted.", required=True),
        status=field("bgp.BGPPeerStatus", "What the nodes say of their sessions."),
    ),
    "bgp.BGPPeerSpec": type_(
        "Who the peer is, which nodes talk to it, and how.",
        peerAddress=field("string", "The peer's address, IPv4 or IPv6.", required=True),
        peerPort=field("int32", "Its TCP port; 179 by default."),
        peerASN=field("int64", "Its autonomous system: 1 to 4294967294.", required=True),
        myASN=field("int64", "The nodes' autonomous system; 64512 by default."),
        nodeSelector=field("meta.LabelSelector", "Nodes that have the session; all where it is missing."),
        sourceAddress=field("string", "The nodes' end of the session; as the kernel chooses where it is missing."),
        holdTimeSeconds=field("int32", "Seconds without a word after which the peer counts as gone: 3 to 65535, or 0 for never; 90 by default."),
        keepaliveSeconds=field("int32", "Seconds between two signs of life; a third of the hold time by default."),
        ebgpMultiHop=field("bool", "Whether the peer may be behind other routers."),
        passwordSecretRef=field("bgp.SecretKey", "The password of the TCP connection (MD5 signatures, RFC 2385)."),
        bfd=field("bgp.Bfd", "Detects in less than a second that the peer is gone (RFC 5880); its being there turns it on."),
        gracefulRestart=field("bool", "Whether the peer keeps our routes while our router program restarts (RFC 4724); true by default."),
        addressFamilies=field("[]string", "IPv4 and IPv6: of which routes are told; the family of the peer's address by default.", is_set=True),
    ),
    "bgp.SecretKey": type_(
        "One value of a Secret.",
        name=field("string", "The Secret.", required=True),
        namespace=field("string", "Its namespace.", required=True),
        key=field("string", "Which of its values; password by default."),
    ),
    "bgp.Bfd": type_(
        "Times of bidirectional forwarding detection.",
        minRxMs=field("int32", "Milliseconds between packets that we can take: 10 to 60000; 100 by default."),
        minTxMs=field("int32", "Milliseconds between packets that we send: 10 to 60000; 100 by default."),
        multiplier=field("int32", "So many packets missing mean that the other side is gone: 2 to 50; 3 by default."),
    ),
    "bgp.BGPPeerStatus": type_(
        "What the nodes say of their sessions.",
        nodes=field("{}bgp.BGPSession", "The session of each node that should have one."),
    ),
    "bgp.BGPSession": type_(
        "A session, as its node says.",
        state=field("string", "Established, or what it is instead."),
        message=field("string", "Why it is not established."),
        since=field("time", "Since when."),
    ),
}  # fmt: skip
