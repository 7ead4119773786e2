"""/healthz, /livez, /readyz and their single checks, in the words of the real server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wherry.apiserver.request import TEXT, Answer, Request, Response

Check = Callable[[], str | None]
"""Why something is not well, or None."""


class Health:
    """Named checks; `ready` ones count for /readyz alone."""

    def __init__(self, live: Mapping[str, Check], ready: Mapping[str, Check]) -> None:
        everything = {"ping": lambda: None, **live}
        self._endpoints: dict[str, dict[str, Check]] = {
            "healthz": everything,
            "livez": everything,
            "readyz": {**everything, **ready},
        }

    def answer(self, request: Request, parts: list[str]) -> Answer | None:
        """The answer at /healthz and its like, None for other paths."""
        checks = self._endpoints.get(parts[0])
        if checks is None or len(parts) > 2:
            return None
        name = parts[0]
        if len(parts) == 2:
            check = checks.get(parts[1])
            if check is None:
                return None
            problem = check()
            if problem is not None:
                return Response(500, f"internal server error: {problem}\n".encode(), TEXT)
            return Response(200, b"ok", TEXT)
        return self._all(request, name, checks)

    def _all(self, request: Request, name: str, checks: Mapping[str, Check]) -> Answer:
        left_out = {part for value in request.query.all("exclude") for part in value.split(",")}
        lines: list[str] = []
        failed = False
        for check_name, check in checks.items():
            if check_name in left_out:
                lines.append(f"[+]{check_name} excluded: ok")
                continue
            problem = check()
            failed = failed or problem is not None
            lines.append(f"[+]{check_name} ok" if problem is None else f"[-]{check_name} failed: {problem}")
        if not failed:
            if "verbose" not in request.query:
                return Response(200, b"ok", TEXT)
            return Response(200, "\n".join([*lines, f"{name} check passed", ""]).encode(), TEXT)
        return Response(500, "\n".join([*lines, f"{name} check failed", ""]).encode(), TEXT)
