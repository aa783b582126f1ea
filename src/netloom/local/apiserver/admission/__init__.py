"""What is added to an object, or refused, between the request and the store: Kubernetes' admission plugins that are on by default.

Comes in: documents that are about to be written, and who writes them. Goes out: the same documents, changed in place, or 403. Each
plugin is a module with a function; chain.py knows their order. Not here: types, defaults and rules of single fields.
"""
