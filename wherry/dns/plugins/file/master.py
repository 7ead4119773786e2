"""Reading master files (RFC 1035 §5, $TTL of RFC 2308 §4, BIND's $GENERATE), by dnspython."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, cast

import dns.exception
import dns.name
import dns.rdataclass
import dns.tokenizer
import dns.zone
import dns.zonefile

from wherry.dns import names, records
from wherry.dns.errors import DnsError
from wherry.dns.plugins.file.zone import Zone
from wherry.dns.records import Record

_DEEPEST = 7
"""Files that may include one another."""
_MOST_GENERATED = 65535
_FOLDED = {records.NS: 0, records.CNAME: 0, records.MX: 2, records.SVCB: 2, records.HTTPS: 2}
"""Types whose names are lower-cased as CoreDNS does, with the octets before the name."""


class MasterFileError(DnsError):
    """A master file cannot be used; the text names file and line where one of them is to blame."""


def _wrong(text: str) -> Exception:
    """An error to which the reader adds file and line."""
    make = cast("Callable[[str], Exception]", dns.exception.SyntaxError)
    return make(text)


class _Tokens(dns.tokenizer.Tokenizer):
    """Makes names of included files absolute and refuses endless $GENERATE lines."""

    def __init__(self, file: TextIO, filename: str) -> None:
        super().__init__(file, filename)
        self._directory = os.path.dirname(filename)
        self._before = ""
        self._start = 1

    def where(self) -> tuple[str, int]:
        """The file and the line on which the entry begins that is being read."""
        return (self.filename, self._start)

    def get(self, want_leading: bool = False, want_comment: bool = False) -> dns.tokenizer.Token:
        """The next token; only the first of an entry is asked for with leading blanks."""
        if want_leading and self.ungotten_token is None:
            self._start = self.line_number
        token = super().get(want_leading, want_comment)
        before, self._before = self._before, str(token.value).upper()
        if before == "$INCLUDE":
            token.value = os.path.join(self._directory, token.value)
        elif before == "$GENERATE":
            _check_range(token.value)
        return token


def _check_range(text: str) -> None:
    ends, _, step = text.partition("/")
    low, _, high = ends.partition("-")
    if low.isdecimal() and high.isdecimal() and (step or "1").isdecimal() and int(step or "1"):
        count = (int(high) - int(low)) // int(step or "1") + 1
        if count > _MOST_GENERATED:
            raise _wrong(f"$GENERATE of {count} records; {_MOST_GENERATED} are the limit")


class _Reader(dns.zonefile.Reader):
    """Keeps track of included files."""

    def __init__(self, tokens: _Tokens, transaction: Any, path: str) -> None:
        self.files = [path]
        super().__init__(tokens, dns.rdataclass.IN, transaction, allow_include=True)

    @property
    def tok(self) -> Any:
        return self._tokens

    @tok.setter
    def tok(self, tokens: Any) -> None:
        # The reader makes a tokenizer of its own kind for an included file.
        if not isinstance(tokens, _Tokens):
            if len(self.saved_state) > _DEEPEST:
                raise _wrong(f"more than {_DEEPEST} files include one another")
            self.files.append(tokens.filename)
            tokens = _Tokens(cast(TextIO, self.current_file), tokens.filename)
        self._tokens = tokens

    def close(self) -> None:
        """Close included files that an error left open."""
        for file in (self.current_file, *(state[3] for state in self.saved_state)):
            if file is not None:
                file.close()


def load(path: Path, origin: bytes) -> Zone:
    """Read the zone ``origin`` (folded) from a file; raises MasterFileError and OSError.

    Records outside the zone are left out.
    """
    zone = dns.zone.Zone(dns.name.from_text(names.to_text(origin)), relativize=False)
    with open(path, encoding="utf-8") as file, zone.writer(True) as transaction:
        reader = _Reader(_Tokens(file, str(path)), transaction, str(path))
        try:
            reader.read()
        except (dns.exception.DNSException, ValueError) as error:
            raise MasterFileError(str(error)) from error
        finally:
            reader.close()
    loaded = Zone(origin, tuple(reader.files))
    for name, node in zone.nodes.items():
        owner = name.to_wire()
        assert owner is not None
        for rdataset in node:
            for rdata in rdataset:
                wire = rdata.to_wire()
                assert wire is not None
                loaded.insert(_folded(Record(owner, int(rdataset.rdtype), rdataset.ttl, wire)))
    if loaded.soa is None:
        raise MasterFileError(f"file {path} has no SOA record for origin {names.to_text(origin)}")
    return loaded


def _folded(record: Record) -> Record:
    """A record as CoreDNS keeps it: names in lower case, but not those of SRV."""
    if record.type in (records.NSEC3, records.NSEC3PARAM):
        raise MasterFileError(f"NSEC3 zones are not supported: {names.to_text(record.name)}; NSEC ones are")
    if record.type == records.SRV:
        return record
    rdata = record.rdata
    if record.type == records.SOA:
        rdata = rdata[:-20].lower() + rdata[-20:]
    elif record.type in _FOLDED:
        start = end = _FOLDED[record.type]
        while rdata[end]:
            end += rdata[end] + 1
        rdata = rdata[:start] + rdata[start:end].lower() + rdata[end:]
    return record._replace(name=record.name.lower(), rdata=rdata)
