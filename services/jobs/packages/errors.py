"""What the package routes may refuse, and why.

NotFound
└── PackageNotFound
Conflict
└── PackagesNotSigned
Unavailable
└── SigningUnavailable
"""

from shared.kit.problems import Conflict, NotFound, Unavailable


class PackageNotFound(NotFound):
    """The line has no such release."""

    title = "No such package"
    hint = "`GET /v1/packages` lists the packages"


class PackagesNotSigned(Conflict):
    """This service was given no key: what a packaging job made could not be signed."""

    title = "Packages are not signed here"
    hint = "set PICOFLEET_JOBS_PACKAGE_KEY to a key file or a PKCS#11 URI and start the service again"


class SigningUnavailable(Unavailable):
    """The key cannot be used now. A worker keeps its package until it can."""

    title = "The package key cannot be used"
