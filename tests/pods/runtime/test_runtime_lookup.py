import pytest

from wherry.pods.model import Mount
from wherry.pods.runtime.lookup import missing
from wherry.pods.runtime.testing import FakeTree

TREE = FakeTree({"/bin": "usr/bin", "/usr": None, "/usr/bin": None, "/usr/bin/sh": "dash", "/usr/bin/dash": ""})
ON_PATH = 'exec: "{}": executable file not found in $PATH'
AT = 'exec: "{0}": stat {0}: no such file or directory'


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("sh", ""),
        ("/bin/sh", ""),
        ("bin/sh", ""),
        ("nosuch", ON_PATH),
        ("/bin/nosuch", AT),
        ("/usr", ""),  # it is there, only no program: that is for the kernel to say
        ("/data/run", ""),
        ("/data/none", AT),
        ("/data/link/anything", ""),
        ("/tmp/x", ""),
        ("/one", ""),
        ("/gone/x", AT),
    ],
)
def test_what_is_certainly_missing(tmp_path, program, expected):
    (tmp_path / "run").touch()
    (tmp_path / "link").symlink_to("/nowhere")
    mounts = (Mount(str(tmp_path), "/data/"), Mount(str(tmp_path / "run"), "/one"))
    said = missing(program, path="/sbin:/bin:relative", cwd="", tree=TREE, mounts=mounts)
    assert said == expected.format(program)
