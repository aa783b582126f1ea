"""What the tests of killed agents attach: a bridge with addresses of a pool, and a pair with addresses of host-local."""


def definitions(rig) -> None:
    """Two networks, and a pod that asks for both."""
    rig.pool("blue", "192.0.2.0/28", "2001:db8:80::/64", gateways=("192.0.2.1", "2001:db8:80::1"))
    ipam = {"type": "netloom-ipam", "pool": "blue"}
    rig.definitions.put(
        "shop/blue",
        {"cniVersion": "1.0.0", "type": "bridge", "bridge": "br-blue", "isGateway": True, "ipam": ipam},
    )
    local = {"type": "host-local", "subnet": "198.51.100.0/24"}
    rig.definitions.put("shop/red", {"cniVersion": "0.4.0", "type": "ptp", "ipam": local})
    rig.pod("shop/cart", networks="blue,red")
