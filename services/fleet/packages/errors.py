"""What the package routes may refuse, and why.

NotFound
├── FleetPackageNotFound
└── PackageFileNotFound
Conflict
├── PackageDiffers
├── PackageInUse
└── ImportRefused
InvalidRequest
└── PackageRefused
PayloadTooLarge
└── PackageTooLarge
Unavailable
└── PackagesAway
"""

from shared.kit.problems import Conflict, InvalidRequest, NotFound, PayloadTooLarge, Unavailable


class FleetPackageNotFound(NotFound):
    """No package is called so, or it was deleted."""

    title = "No such package in the fleet"
    hint = "`GET /v1/fleet/packages` lists those there are; import others with POST"


class PackageFileNotFound(NotFound):
    """The package has no such file."""

    title = "No such file of the package"
    hint = "`files` of the package lists those there are"


class PackageDiffers(Conflict):
    """Another package is there under this line and release."""

    title = "Another package has this name"
    hint = "one of the two is not what it says: compare their digests; delete the one here to import the other"


class PackageInUse(Conflict):
    """A rollout or a camera needs the package."""

    title = "Package is needed"
    hint = "end these rollouts and wait until no camera needs it, or delete it all the same with ?force=true"


class ImportRefused(Conflict):
    """The jobs service does not give the package out."""

    title = "Package cannot be had"


class PackageRefused(InvalidRequest):
    """The package is damaged, forged, or not the one that was asked for. ``file`` is the one at fault."""

    title = "Package refused"


class PackageTooLarge(PayloadTooLarge):
    """The package has more bytes than this service takes."""

    title = "Package too large"
    hint = "raise PICOFLEET_FLEET_MAX_PACKAGE_BYTES"


class PackagesAway(Unavailable):
    """The jobs service, which keeps the packages, does not answer."""

    title = "Packages cannot be asked for"
