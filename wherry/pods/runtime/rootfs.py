"""A writable view of an image's directory that no write of the container leaves (overlayfs, mount(2)).

The calling thread gets a mount namespace of its own and in it an overlay over the directory, whose upper layer is a
tmpfs that nothing else sees. What is then started from the thread inherits both; they vanish with its last process, so
there is nothing to clean up, neither after the container nor after a crash. The kernel lets an ordinary user's user
namespace do this since 5.11.
"""

from __future__ import annotations

import os

from wherry.kernel import netns

_CLONE_FS = 0x200


def make_writable(directory: str) -> str:
    """Put the overlay over ``directory`` for the calling thread, which must end afterwards.

    Returns why that cannot be done, empty when it is. Raises OSError when the directory cannot be opened or the thread
    cannot get a mount namespace.
    """
    netns.unshare(_CLONE_FS | netns.CLONE_NEWNS)
    # Volumes that are mounted later on still come in, and nothing of ours gets out.
    netns.mount("none", "/", flags=netns.MS_REC | netns.MS_SLAVE)
    lower = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode = os.stat(lower).st_mode & 0o7777
        netns.mount("tmpfs", directory, "tmpfs", netns.MS_NODEV, "mode=0755")
        upper = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _mount(directory, lower, upper, mode)
        finally:
            os.close(upper)
    finally:
        os.close(lower)


def _mount(directory: str, lower: int, upper: int, mode: int) -> str:
    for name in ("upper", "work"):
        os.mkdir(name, dir_fd=upper)
    os.chmod(f"/proc/thread-self/fd/{upper}/upper", mode)
    # By descriptor: a path may hold the comma and colon that separate the options.
    fds = "/proc/thread-self/fd"
    options = f"lowerdir={fds}/{lower},upperdir={fds}/{upper}/upper,workdir={fds}/{upper}/work"
    if netns.in_user_namespace():
        options += ",userxattr"
    try:
        netns.mount("overlay", directory, "overlay", 0, options)
    except OSError as error:
        netns.umount(directory)
        return f"the kernel makes no overlay here ({error.strerror})"
    return ""
