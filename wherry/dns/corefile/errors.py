"""What is wrong with a Corefile, in CoreDNS' words."""

from wherry.config.errors import ConfigError
from wherry.dns.errors import DnsError


class CorefileError(ConfigError, DnsError):
    """A Corefile, or a file it imports, cannot be used.

    `file` and `line` say where, `text` what, `plugin` whose set-up found it. `files` are all files that had a part
    in it (two blocks for one zone, two directives that cannot merge), so that a loader finds the bad custom one.
    """

    def __init__(
        self, text: str, *, file: str = "", line: int = 0, plugin: str = "", files: tuple[str, ...] = ()
    ) -> None:
        where = f"{file}:{line} - Error during parsing: " if file else ""
        super().__init__(f"{f'plugin/{plugin}: ' if plugin else ''}{where}{text}")
        self.text = text
        self.file = file
        self.line = line
        self.plugin = plugin
        self.files = files or ((file,) if file else ())
