"""The errors that travel: a stable kind, and a detail that says found, expected and what to do."""


class WireError(Exception):
    """Becomes an `ErrorReply`. Kinds are listed in PROTOCOL.md."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class DecodeError(WireError):
    """Bytes that are not the message; says where."""

    def __init__(self, offset: int, problem: str, field: str = "") -> None:
        super().__init__("malformed", f"byte {offset}{f' ({field})' if field else ''}: {problem}")
        self.offset = offset
        self.problem = problem
        self.field = field

    def inside(self, outer: str) -> "DecodeError":
        """The same with the enclosing field's name in front."""
        joint = "" if not self.field or self.field.startswith("[") else "."
        return DecodeError(self.offset, self.problem, f"{outer}{joint}{self.field}")
