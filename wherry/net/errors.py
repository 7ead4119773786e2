"""What an allocator refuses.

AllocationError
├── Exhausted      nothing is free
├── AlreadyTaken   the address, range or port asked for has an owner
└── OutOfRange     the address, range or port asked for is not one this pool hands out
"""


class AllocationError(Exception):
    """An allocator refused a request."""


class Exhausted(AllocationError):
    """Nothing is free."""


class AlreadyTaken(AllocationError):
    """What was asked for has an owner."""


class OutOfRange(AllocationError):
    """What was asked for does not belong to the pool."""
