"""Containers of images, run by crun under conmon in a pod's namespaces. The other way to run a container is a stand-in."""
