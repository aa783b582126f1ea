"""The exception tree. Every error names an object, a field where there is one, and what to do.

NetloomError                        exit 1
├── UsageError                      exit 2   the command line or a file given on it is wrong
├── InvalidObject                   exit 2   a Kubernetes object that we cannot use; the rest of the cluster goes on
├── AlreadyExists                   exit 3   a cluster, an address or a name that is taken
├── NotFound                        exit 4   no such cluster, pod, Service, node
├── Unsupported                     exit 5   this kernel or this system lacks what is needed
├── Unavailable                     exit 6   the API server, an agent or a socket does not answer (try again)
├── KernelError                     exit 1   the kernel refused an operation (carries errno)
│   └── NftError                             an nftables transaction was refused as a whole
├── StorageError                    exit 7   the store or an address database cannot be written (disk full, corrupt)
└── Untrue                          exit 8   a verification ran and found something that should hold and does not

Errors are translated once per edge: CNI code, DNS rcode, HTTP Status, exit code. They are handled or raised, never both.
"""

from __future__ import annotations


class NetloomError(Exception):
    """Base of all errors that netloom raises on purpose.

    Args:
        problem: what is wrong, one line, naming the object and field.
        hint: what the reader can do about it; may be empty.
    """

    exit_code: int = 1
    """What the command exits with."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(problem)

    def __str__(self) -> str:
        return f"{self.problem}; {self.hint}" if self.hint else self.problem


class UsageError(NetloomError):
    """A flag or a file given on the command line is wrong."""

    exit_code = 2


class InvalidObject(NetloomError):
    """A Kubernetes object that we cannot use.

    Args:
        subject: the object, such as ``Service shop/cart``.
        field: path of the field, such as ``spec.ports[2].targetPort``; may be empty.
        problem: what is wrong with it.
        hint: what would be right.
    """

    exit_code = 2

    def __init__(self, subject: str, field: str, problem: str, hint: str = "") -> None:
        self.subject = subject
        self.field = field
        where = f"{subject}: {field}" if field else subject
        super().__init__(f"{where}: {problem}", hint)


class AlreadyExists(NetloomError):
    """A cluster, an address or a name that is taken."""

    exit_code = 3


class NotFound(NetloomError):
    """No such cluster, pod, Service or node."""

    exit_code = 4


class Unsupported(NetloomError):
    """This kernel or this system lacks what is needed; the hint says how to go on."""

    exit_code = 5


class Unavailable(NetloomError):
    """The API server, an agent or a socket does not answer; trying again may help."""

    exit_code = 6


class KernelError(NetloomError):
    """The kernel refused an operation.

    Args:
        operation: what was asked, such as ``RTM_NEWLINK nl3f2a``.
        errno: the kernel's answer, a positive number of :mod:`errno`.
        text: the kernel's own words (extended ack), or strerror.
    """

    def __init__(self, operation: str, errno: int, text: str, hint: str = "") -> None:
        self.operation = operation
        self.errno = errno
        super().__init__(f"{operation}: {text} (errno {errno})", hint)


class NftError(KernelError):
    """An nftables transaction was refused as a whole; nothing of it is in force."""


class StorageError(NetloomError):
    """The store or an address database cannot be written; what was acknowledged before is safe."""

    exit_code = 7


class Untrue(NetloomError):
    """A verification ran and found something that should hold and does not."""

    exit_code = 8
