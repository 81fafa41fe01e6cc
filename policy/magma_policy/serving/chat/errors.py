"""What the chat endpoint refuses, in the API's own form."""

from __future__ import annotations

from typing import Any

SERVER = "server_error"


class ApiError(Exception):
    """An answer that is none: HTTP status, one sentence, the parameter at fault, and a word that programs compare."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    @property
    def kind(self) -> str:
        """The API's `type` of such errors."""
        return SERVER if self.status >= 500 else "invalid_request_error"

    def as_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None, code: str | None = "invalid_value") -> ApiError:
    """A request that cannot be meant; `code` as OpenAI's own server gives it."""
    return ApiError(400, message, param, code)
