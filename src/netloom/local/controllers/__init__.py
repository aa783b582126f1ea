"""The control loops of the embedded cluster. Each follows the API server and writes back what is missing.

One file a loop, each a class with ``sync(key)``, one turn of the loop, and pure functions that decide. They share
workqueue.py (keys, retries, one writer a key), informers.py (typed caches) and objects.py (what they read). main.py wires.
"""
