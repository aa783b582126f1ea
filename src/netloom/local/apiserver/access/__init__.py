"""Who asks and what they may: identities, tokens, roles, and the questions about them (README.md).

Comes in: connections, headers, stored roles and bindings. Goes out: an Identity, a yes or a no with its reason. Not here:
what a request does once it may (rest.py), and what changes an object on its way into the store (admission).
"""
